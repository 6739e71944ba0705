"""Tokens on an edge node: whose they are, and the node's own while no token server can be asked.

A registry with a token server accepts tokens, not passwords. A token that passed through the node is that of the
credentials it was asked with, so the registry's yes to the token is one to them, too. While neither registry nor token
server can be asked, the node gives those credentials a token of its own: for the repositories that they may read
offline, for some minutes, and worth nothing to anybody but this node's workers while they are offline.
"""

from __future__ import annotations

import base64
import hmac
import sqlite3
import time
from collections.abc import Iterable
from typing import Any, Final

import orjson
from aiohttp import hdrs
from cachetools import LRUCache

from proxy.auth.identity import Identity
from proxy.edge.disk.state import State
from proxy.edge.rights.acceptances import Acceptances
from proxy.repository import Repository

RELAYED_TABLE: Final = (
    "CREATE TABLE IF NOT EXISTS relayed_tokens (token BLOB PRIMARY KEY, who BLOB NOT NULL, until REAL NOT NULL) "
    "WITHOUT ROWID"
)
OWN_SECONDS: Final = 300
"""For which a token of the node's own is good."""
_PREFIX: Final = "twodfs-offline"
_KEY: Final = b"tokens of an edge node's own"
_SWEPT_EVERY: Final = 256
_MOST_KNOWN: Final = 16_384
_LONGEST: Final = 16 * 1024
_BEARER: Final = "bearer "


class EdgeTokens:
    """Which credentials tokens stand for."""

    def __init__(self, state: State, secret: bytes, acceptances: Acceptances) -> None:
        """``secret`` is the directory's; the key of the node's tokens is made of it."""
        self._state = state
        self._key = hmac.digest(secret, _KEY, "sha256")
        self._acceptances = acceptances
        self._relayed: LRUCache[bytes, tuple[bytes, float] | None] = LRUCache(_MOST_KNOWN)
        self._writes = 0

    @classmethod
    async def open(cls, state: State, secret: bytes, acceptances: Acceptances) -> EdgeTokens:
        """Return the tokens in ``state``; raises ``sqlite3.Error``."""
        await state.add(RELAYED_TABLE)
        return cls(state, secret, acceptances)

    async def relayed(self, token: str, who: Identity, *, good_for: float) -> None:
        """Take down that a token server gave ``who`` a token, good for so many seconds."""
        hashed = self._acceptances.hashed(_bearer(token))
        owner = self._acceptances.hashed(who), time.time() + good_for
        self._writes += 1
        is_turn = self._writes % _SWEPT_EVERY == 1

        def write(connection: sqlite3.Connection) -> None:
            if is_turn:
                connection.execute("DELETE FROM relayed_tokens WHERE until < ?", (time.time(),))
            connection.execute("INSERT OR REPLACE INTO relayed_tokens VALUES (?, ?, ?)", (hashed, *owner))

        if await self._state.remember(write):
            self._relayed[hashed] = owner

    async def accepted(self, identity: Identity, repository: Repository) -> None:
        """Keep the registry's yes to a token for the credentials behind it."""
        owner = await self._owner(identity)
        if owner is not None:
            await self._acceptances.keep(owner[0], repository)

    async def refused(self, identity: Identity, repository: Repository) -> None:
        """End the yes to the credentials behind a token that was refused, and not for its age."""
        owner = await self._owner(identity)
        if owner is not None and time.time() < owner[1]:
            await self._acceptances.drop(owner[0], repository)

    async def issue(self, who: Identity, repositories: Iterable[Repository]) -> str | None:
        """Return a token of the node's own for those ``repositories`` that ``who`` may read offline; None for none.

        Raises:
            sqlite3.Error: the state cannot be read.
        """
        allowed = [str(one) for one in repositories if await self._acceptances.is_accepted_lately(who, one)]
        if not allowed:
            return None
        payload = _encoded(orjson.dumps({"until": time.time() + OWN_SECONDS, "repositories": allowed}))
        return f"{_PREFIX}.{payload}.{self._sealed(payload)}"

    def allow(self, identity: Identity, repository: Repository) -> bool:
        """Say whether the client shows a token of the node's own that is for ``repository``."""
        prefix, _, rest = _shown(identity).partition(".")
        payload, _, seal = rest.partition(".")
        given = seal.encode("utf-8", "surrogateescape")
        if prefix != _PREFIX or not hmac.compare_digest(given, self._sealed(payload).encode()):
            return False
        content: dict[str, Any] = orjson.loads(base64.urlsafe_b64decode(payload))
        return 0 <= content["until"] - time.time() <= OWN_SECONDS and str(repository) in content["repositories"]

    def _sealed(self, payload: str) -> str:
        return _encoded(hmac.digest(self._key, payload.encode("utf-8", "surrogateescape"), "sha256"))

    async def _owner(self, identity: Identity) -> tuple[bytes, float] | None:
        """Return the hash of the credentials that a client's token was given to, and the end of its time."""
        if not _shown(identity):
            return None
        hashed = self._acceptances.hashed(identity)
        if hashed not in self._relayed:
            try:
                row = await self._state.read(
                    lambda connection: connection.execute(
                        "SELECT who, until FROM relayed_tokens WHERE token = ?", (hashed,)
                    ).fetchone()
                )
            except sqlite3.Error:
                return None
            self._relayed[hashed] = None if row is None else (row[0], row[1])
        return self._relayed[hashed]


def form_identity(user: str, password: str) -> Identity:
    """Return the identity of who shows name and password in a form: the same as in a header."""
    encoded = base64.b64encode(f"{user}:{password}".encode()).decode()
    return Identity.of({hdrs.AUTHORIZATION: f"Basic {encoded}"})


def _bearer(token: str) -> Identity:
    return Identity.of({hdrs.AUTHORIZATION: f"Bearer {token}"})


def _shown(identity: Identity) -> str:
    """Return the token in a client's credentials, if it is one and nothing else."""
    if len(identity.headers) != 1:
        return ""
    value = identity.headers.get(hdrs.AUTHORIZATION, "")
    is_token = value[: len(_BEARER)].lower() == _BEARER and len(value) <= _LONGEST
    return value[len(_BEARER) :].strip() if is_token else ""


def _encoded(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).decode()
