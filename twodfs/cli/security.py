"""How a registry is spoken to: with TLS or without, and whom to trust."""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from twodfs.errors import UsageError
from twodfs.files import read_file

if TYPE_CHECKING:
    from twodfs.registry.session import Keychain, Registry

_BEGIN: Final = b"-----BEGIN "


@dataclass(frozen=True, slots=True)
class Security:
    """What the command line says; without a word, TLS, and for this machine what the registry speaks.

    Attributes:
        plain_http: speak HTTP without TLS.
        tls: speak TLS, also to this machine.
        ca_file: PEM certificates to trust beside the system's.
    """

    plain_http: bool = False
    tls: bool = False
    ca_file: Path | None = None

    def __post_init__(self) -> None:
        """Refuse what cannot be; raises ``UsageError``."""
        if self.plain_http and self.tls:
            raise UsageError("a registry is spoken to in plain HTTP or with TLS, not both")
        if self.ca_file is not None:
            _check(self.ca_file)

    def __or__(self, other: Security) -> Security:
        """Return what both say of one registry."""
        return Security(self.plain_http or other.plain_http, self.tls or other.tls, self.ca_file or other.ca_file)

    @property
    def of_others(self) -> Security:
        """What holds for any other registry of the same command: whom to trust."""
        return Security(ca_file=self.ca_file)

    def open(self, registry: str, keychain: Keychain | None = None) -> AbstractContextManager[Registry]:
        """Return ``open_registry`` of ``registry``; credentials come from ``keychain``, or as for Docker."""
        from twodfs.registry.session import open_registry  # noqa: PLC0415 - a build from scratch asks none

        return open_registry(
            registry, plain_http=self.plain_http, tls=self.tls, ca_file=self.ca_file, keychain=keychain
        )


def _check(file: Path) -> None:
    try:
        content = read_file(file)
    except OSError as error:
        raise UsageError(f"--ca-file: {file}: cannot be read: {error.strerror or error}") from None
    if _BEGIN not in content:
        raise UsageError(f"--ca-file: {file} holds no certificate in PEM")
