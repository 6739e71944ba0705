"""A client's identity: its own credentials, a keyed hash of them, and its known rights."""

from __future__ import annotations

import hmac
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from aiohttp import hdrs
from multidict import istr

from proxy.repository import Repository

# Made anew in each process: a fingerprint that leaks from one is worth nothing anywhere else. Nothing that
# is keyed by it leaves the process, so the replicas need no common one.
_PROCESS_SECRET: Final = secrets.token_bytes(32)
_CREDENTIALS: Final = (hdrs.AUTHORIZATION, hdrs.COOKIE)

Rights = Mapping[Repository, frozenset[str]]
"""Actions by repository."""


def fingerprint(*parts: tuple[bytes, bytes]) -> bytes:
    """Return HMAC-SHA-256, keyed by this process's secret, of named ``parts``; it stands for them."""
    message = b"".join(b"%s:%d:%s" % (name, len(value), value) for name, value in parts)
    return hmac.digest(_PROCESS_SECRET, message, "sha256")


@dataclass(frozen=True, slots=True)
class Identity:
    """The credentials of a client, and a keyed hash that stands for it in memory.

    Two requests with the same fingerprint have the same rights upstream, so one answer serves both.

    Attributes:
        headers: those that go upstream for this client.
        fingerprint: keyed hash of ``headers``.
        rights: scopes that need no question upstream: a verified token grants them, or the proxy itself let
            the client in.
        client: under which name (``ClientAddresses.rate_limit_key``) work is counted that is done for it.
    """

    headers: Mapping[istr, str] = field(repr=False, compare=False)
    fingerprint: bytes = field(repr=False)
    rights: Rights = field(default_factory=dict, repr=False, compare=False)
    client: str = field(default="", repr=False, compare=False)

    @classmethod
    def of(cls, headers: Mapping[str, str], client: str = "") -> Identity:
        """Return the identity in a request's headers, of whose rights only the upstream knows."""
        found = {name: headers[name] for name in _CREDENTIALS if name in headers}
        parts = ((name.encode(), value.encode("utf-8", "surrogateescape")) for name, value in found.items())
        return cls(found, fingerprint(*parts), client=client)

    def may_pull(self, repository: Repository) -> bool:
        """Say whether it is known, without a question upstream, that this client may read ``repository``."""
        return "pull" in self.rights.get(repository, ())


def service(rights: Rights, client: str) -> Identity:
    """Return the identity of a client that the proxy let in: the proxy's own credentials go upstream for it.

    All such clients have the same rights upstream, so they share upstream requests.
    """
    return Identity({}, _SERVICE, rights, client)


_SERVICE: Final = fingerprint((b"service", b""))
