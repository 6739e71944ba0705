"""Passwords of clients: an htpasswd file of bcrypt hashes, as Apache's ``htpasswd -B`` writes them."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Final

import bcrypt
from cachetools import TTLCache

from proxy.auth.identity import fingerprint
from proxy.clients.limits import Slots
from proxy.single_flight import SingleFlight
from proxy.watched import WatchedFile

_REMEMBERED: Final = 60.0
"""Seconds for which a right password is not hashed again; a change of the file ends it at once."""
_MOST_REMEMBERED: Final = 4096
_AT_A_TIME: Final = 2
_MOST_WAITING: Final = 64
_BCRYPT_BYTES: Final = 72  # bcrypt looks at no more, and neither do the programs that write such files
_HASH: Final = re.compile(rb"\$2[aby]\$([0-9]{2})\$[./A-Za-z0-9]{53}")
_HIGHEST_COST: Final = 15
"""At 15 a check takes seconds; more would let any client stop the proxy."""
# Hash of no user's password: an unknown name takes as long as a known one.
_NOBODYS: Final = b"$2b$10$CwTycUXWue0Thq9StjUM0uJ8zX2n7F3oYkXvP1lSIl0a6V5l2vJ8W"


class Passwords:
    """Checks logins against a file, which is read again when it changes."""

    def __init__(self, path: Path) -> None:
        """Read the file.

        Raises:
            FileError: it cannot be used.
        """
        self._users = WatchedFile(path, parse_htpasswd)
        self._right: TTLCache[bytes, None] = TTLCache(_MOST_REMEMBERED, _REMEMBERED)
        self._changes = 0
        self._checking: SingleFlight[bool] = SingleFlight()
        self._slots = Slots(_AT_A_TIME, _MOST_WAITING, "too many log-ins at a time; try again")

    async def are_right(self, user: str, password: str, client: str) -> bool:
        """Say whether ``user`` has this password; ``client`` (by its rate limit key) waits for its turn.

        Raises:
            TooManyRequestsError: too many are to be checked before it.
        """
        users = self._users.get()
        if self._users.changes != self._changes:
            self._changes = self._users.changes
            self._right.clear()
        name = fingerprint((b"user", user.encode()), (b"password", password.encode()))
        if name in self._right:
            return True
        # Engines ask for many blobs at a time: the same login is hashed once.
        hashed = users.get(user)
        work = partial(self._hash, name, password, hashed, client)
        return await self._checking.do((name, self._changes), work)

    async def _hash(self, name: bytes, password: str, hashed: bytes | None, client: str) -> bool:
        changes = self._changes
        async with self._slots.taken(client):
            is_right = await asyncio.to_thread(_check, password, hashed)
        if is_right and changes == self._changes:
            self._right[name] = None
        return is_right


def _check(password: str, hashed: bytes | None) -> bool:
    try:
        is_right = bcrypt.checkpw(password.encode()[:_BCRYPT_BYTES], hashed or _NOBODYS)
    except ValueError:
        return False
    return is_right and hashed is not None


def parse_htpasswd(content: bytes) -> Mapping[str, bytes]:
    """Return the hash of each user.

    Raises:
        ValueError: a line is not ``user:hash`` with bcrypt; the message has the line's number alone.
    """
    users = {}
    for number, line in enumerate(content.splitlines(), start=1):
        text = line.strip()
        if not text or text.startswith(b"#"):
            continue
        user, _, hashed = text.partition(b":")
        match = _HASH.fullmatch(hashed)
        if not user or match is None:
            raise ValueError(f"line {number} is not user:hash with bcrypt, as 'htpasswd -B' writes it")
        if int(match[1]) > _HIGHEST_COST:
            raise ValueError(f"line {number} has a bcrypt cost above {_HIGHEST_COST}; a check would take too long")
        try:
            users[user.decode()] = hashed
        except UnicodeDecodeError:
            raise ValueError(f"line {number} is not UTF-8") from None
    return users
