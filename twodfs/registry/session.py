"""A registry, opened.

::

    with open_registry("ghcr.io") as registry:
        repository = registry.repository("library/model", push=True)
        manifest = repository.manifest("v1")
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from http import HTTPStatus
from typing import TYPE_CHECKING

from twodfs.errors import AuthError, RegistryError
from twodfs.registry.authorization import Keychain
from twodfs.registry.message import Request
from twodfs.registry.repository import MAX_ANSWER_BYTES, RemoteRepository, Resolved
from twodfs.registry.retries import Retries
from twodfs.registry.transport import Transport
from twodfs.wire.pool import ConnectionPool

if TYPE_CHECKING:
    from pathlib import Path

    from twodfs.credentials.credentials import Credentials

__all__ = ["Keychain", "Registry", "RemoteRepository", "Resolved", "Retries", "open_registry"]


class Registry:
    """A registry; its repositories share connections and tokens."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def check_login(self) -> bool:
        """Ask the registry whether it knows the user; return whether it wanted to know at all.

        Raises:
            AuthError: it refuses the credentials, or there are none.
            RegistryError: it does not answer, or is no registry.
        """
        request = Request("GET", f"{self._transport.url}/v2/")
        try:
            self._transport.fetch(request, HTTPStatus.OK, limit=MAX_ANSWER_BYTES)
        except RegistryError as error:
            if error.status in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN):
                raise AuthError(f"{self._transport.registry} refuses this username and password") from None
            raise
        return self._transport.was_challenged

    def repository(self, name: str, *, push: bool = False) -> RemoteRepository:
        """Return the repository ``name``.

        Args:
            name: without the registry.
            push: whether tokens must allow writing to it.
        """
        return RemoteRepository(self._transport, name, (f"repository:{name}:{'pull,push' if push else 'pull'}",))


@contextmanager
def open_registry(
    registry: str,
    *,
    plain_http: bool = False,
    tls: bool = False,
    ca_file: Path | None = None,
    keychain: Keychain | None = None,
    retries: Retries | None = None,
) -> Iterator[Registry]:
    """Open connections to ``registry`` (``host[:port]``), close them at the end.

    Args:
        registry: ``docker.io`` means Docker Hub's own host.
        plain_http: speak HTTP without TLS; a registry on a loopback address needs no asking.
        tls: speak TLS, also to a loopback address.
        ca_file: PEM certificates to trust beside the system's, at every address that the registry leads to.
        keychain: finds the user's credentials once the registry asks for some; Docker's where left out.
        retries: how often, and after which delays; the default takes eight attempts.
    """
    pool = ConnectionPool(ca_file)
    try:
        yield Registry(
            Transport(
                pool,
                registry,
                plain_http=plain_http,
                tls=tls,
                keychain=keychain or _from_docker,
                retries=retries or Retries(),
            )
        )
    finally:
        pool.close()


def _from_docker(registry: str) -> Credentials | None:
    from twodfs.credentials.lookup import find_credentials  # noqa: PLC0415 - many registries ask nothing

    return find_credentials(registry)
