"""The registries of one command: plain HTTP or TLS, the CAs to trust, and one session for base and target."""

from __future__ import annotations

import threading
from argparse import Namespace
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final, Self

from twodfs.errors import InvalidReferenceError, UsageError
from twodfs.files import read_file

if TYPE_CHECKING:
    from twodfs.oci.reference import Reference
    from twodfs.registry.session import Keychain, Registry, RemoteRepository

_BEGIN: Final = b"-----BEGIN "


@dataclass(frozen=True, slots=True)
class Security:
    """Options for a registry; without any, TLS, and on this machine the protocol that the registry speaks.

    Attributes:
        plain_http: speak HTTP without TLS.
        tls: speak TLS, also to this machine.
        ca_file: PEM certificates to trust beside the system's.
    """

    plain_http: bool = False
    tls: bool = False
    ca_file: Path | None = None

    def __post_init__(self) -> None:
        """Refuse contradictions; raises ``UsageError``."""
        if self.plain_http and self.tls:
            raise UsageError("a registry is spoken to in plain HTTP or with TLS, not both")
        if self.ca_file is not None:
            _check(self.ca_file)

    def __or__(self, other: Security) -> Security:
        """Return the options that both give for one registry."""
        return Security(self.plain_http or other.plain_http, self.tls or other.tls, self.ca_file or other.ca_file)

    @classmethod
    def of(cls, arguments: Namespace) -> Security:
        """Return the values of ``add_registry_options``; raises ``UsageError`` for contradictions."""
        return cls(arguments.plain_http, arguments.tls, arguments.ca_file)

    @property
    def of_others(self) -> Security:
        """The options for any other registry of the same command: the CAs to trust."""
        return Security(ca_file=self.ca_file)

    def open(self, registry: str, keychain: Keychain | None = None) -> AbstractContextManager[Registry]:
        """Return ``open_registry`` of ``registry``; credentials come from ``keychain``, or as for Docker."""
        from twodfs.registry.session import open_registry  # noqa: PLC0415 - a build from scratch asks none

        return open_registry(
            registry, plain_http=self.plain_http, tls=self.tls, ca_file=self.ca_file, keychain=keychain
        )


class Registries:
    """Registries opened as they are needed, each once, so that base and target share their connections.

    For any thread.
    """

    def __init__(self, registry: str, security: Security) -> None:
        """Begin with none; ``security`` says how ``registry`` is spoken to, and the CAs to trust."""
        self._security = {registry: security}
        self._of_others = security.of_others
        self._stack = ExitStack()
        self._opened: dict[str, Registry] = {}
        self._opening = threading.Lock()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_failure: object) -> None:
        self._stack.close()

    def secure(self, name: str, security: Security) -> None:
        """Speak to the registry at ``name`` as ``security`` says, too; before it is opened.

        Raises:
            UsageError: the options for it contradict each other.
        """
        self._security[name] = self._security.get(name, self._of_others) | security

    def open(self, name: str) -> Registry:
        """Return the registry at ``name``, opened when it is first asked for."""
        with self._opening:
            if name not in self._opened:
                opening = self._security.get(name, self._of_others).open(name)
                self._opened[name] = self._stack.enter_context(opening)
            return self._opened[name]

    def repository(self, reference: Reference, *, push: bool = False) -> RemoteRepository:
        """Return the repository of ``reference``; ``push``: tokens must allow writing to it."""
        return self.open(reference.registry).repository(reference.repository, push=push)


def registry_name(text: str) -> str:
    """Return the registry that ``text`` writes, without scheme and path; Docker Hub where it is empty.

    Raises:
        InvalidReferenceError: it is none.
    """
    from twodfs.credentials.docker_config import registry_host  # noqa: PLC0415
    from twodfs.oci.reference import DOCKER_HUB, Reference  # noqa: PLC0415 - for logins alone

    host = registry_host(text or DOCKER_HUB)
    try:
        name = Reference.parse(f"{host}/any/image").registry
    except InvalidReferenceError:
        name = ""
    if name != host:
        raise InvalidReferenceError(f"{text!r} is no registry; expected host or host:port")
    return name


def _check(file: Path) -> None:
    try:
        content = read_file(file)
    except OSError as error:
        raise UsageError(f"--ca-file: {file}: cannot be read: {error.strerror or error}") from None
    if _BEGIN not in content:
        raise UsageError(f"--ca-file: {file} holds no certificate in PEM")
