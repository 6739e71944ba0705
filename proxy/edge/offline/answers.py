"""What tags, lists of referrers and ``/v2/`` were last: the registry's answers, kept in the file of small facts."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any, Final

import orjson
from aiohttp import hdrs
from multidict import CIMultiDict, CIMultiDictProxy

from proxy.edge.disk.state import State
from proxy.edge.offline.questions import takes
from proxy.repository import Repository
from twodfs.oci.digest import Digest

_TABLES: Final = (
    """
    CREATE TABLE IF NOT EXISTS answers (
        repository TEXT NOT NULL, resource TEXT NOT NULL, accept TEXT NOT NULL, status INTEGER NOT NULL,
        digest TEXT NOT NULL, media_type TEXT NOT NULL, headers BLOB NOT NULL, body BLOB NOT NULL,
        asked_at REAL NOT NULL, PRIMARY KEY (repository, resource, accept)
    ) WITHOUT ROWID
    """,
    "CREATE INDEX IF NOT EXISTS answers_by_digest ON answers (repository, digest)",
    "CREATE INDEX IF NOT EXISTS answers_by_age ON answers (status, asked_at)",
)
_KEPT_HEADERS: Final = (
    hdrs.CONTENT_TYPE,
    hdrs.CONTENT_LENGTH,
    hdrs.ETAG,
    hdrs.LINK,
    hdrs.WWW_AUTHENTICATE,
    "Docker-Content-Digest",
    "Docker-Distribution-Api-Version",
    "OCI-Filters-Applied",
)
_TAGS: Final = "manifests/"
_LONGEST_BODY: Final = 4096
"""Bytes of an error; a document's body is among the content."""
_MOST_GOOD: Final = 65_536
_MOST_OTHERS: Final = 8192
_LOOKED_THROUGH_EVERY: Final = 256
"""Writes between two looks at how many rows there are."""


@dataclass(frozen=True, slots=True)
class LastAnswer:
    """An answer that the registry gave.

    Attributes:
        status: of HTTP.
        digest: of the document; empty where there was none.
        media_type: of the document.
        headers: the ones that mean the same to any client.
        body: of an error; a document is among the content, by its digest.
        asked_at: when, in seconds since the epoch.
    """

    status: int
    digest: Digest | None
    media_type: str
    headers: Sequence[tuple[str, str]] = ()
    body: bytes = field(default=b"", repr=False)
    asked_at: float = field(default_factory=time.time)

    @property
    def is_good(self) -> bool:
        """Whether the registry had what was asked for."""
        return self.status == HTTPStatus.OK

    @property
    def age(self) -> float:
        """Seconds since it was given; 0 where the clock was set back."""
        return max(0.0, time.time() - self.asked_at)


def kept_headers(headers: CIMultiDictProxy[str] | CIMultiDict[str]) -> tuple[tuple[str, str], ...]:
    """Return the headers of an answer that mean the same to any client."""
    return tuple((str(name), value) for name in _KEPT_HEADERS for value in headers.getall(name, ()))


@dataclass(frozen=True, slots=True)
class KnownTag:
    """A tag as the registry had it last."""

    repository: str
    tag: str
    digest: Digest
    media_type: str


@dataclass(frozen=True, slots=True)
class AnswerRow:
    """An answer and its place, as exports carry it; ``accept`` is a class of it."""

    repository: str
    resource: str
    accept: str
    answer: LastAnswer


class Answers:
    """The last answers, for all workers of a node."""

    def __init__(self, state: State, *, max_stale: float) -> None:
        self._state = state
        self._max_stale = max_stale
        self._writes = 0

    @classmethod
    async def open(cls, state: State, *, max_stale: float) -> Answers:
        """Return the answers in ``state``; ``max_stale``: seconds for which one is good.

        Raises:
            sqlite3.Error: the file cannot be written.
        """
        await state.add(*_TABLES)
        return cls(state, max_stale=max_stale)

    async def find(self, repository: Repository, resource: str, accept: str) -> LastAnswer | None:
        """Return the last answer that is young enough; None where there is none.

        Args:
            repository: of the question.
            resource: its name.
            accept: the class of its ``Accept``: for a tag another's answer serves, too, if its type is taken.
        """

        def look_up(connection: sqlite3.Connection) -> list[tuple[str, LastAnswer]]:
            rows = connection.execute(
                "SELECT accept, status, digest, media_type, headers, body, asked_at FROM answers"
                " WHERE repository = ? AND resource = ? ORDER BY asked_at DESC",
                (str(repository), resource),
            )
            return [(own, _answer(more)) for own, *more in rows]

        try:
            found = await self._state.read(look_up)
        except sqlite3.Error:
            return None
        young = [(own, answer) for own, answer in found if answer.age <= self._max_stale]
        exact = next((answer for own, answer in young if own == accept), None)
        if (exact is not None and exact.is_good) or not resource.startswith(_TAGS):
            return exact
        others = (answer for own, answer in young if answer.is_good and takes(accept, answer.media_type))
        other = next(others, None)
        if exact is None or (other is not None and other.asked_at > exact.asked_at):
            return other
        return exact

    async def remember(self, repository: Repository, resource: str, accept: str, answer: LastAnswer) -> None:
        """Keep ``answer`` in the place of the one before.

        One that says there is nothing also ends the answers to other classes that this client would have got.
        """
        place = (str(repository), resource, accept)
        self._writes += 1
        is_turn = self._writes % _LOOKED_THROUGH_EVERY == 1

        def write(connection: sqlite3.Connection) -> None:
            if not answer.is_good:
                _forget(connection, *place)
            _write(connection, place, answer)
            if is_turn:
                _shorten(connection)

        await self._state.remember(write)

    async def media_type(self, repository: Repository, digest: Digest) -> str | None:
        """Return the type of a document that an answer of ``repository`` named; None where none did."""

        def look_up(connection: sqlite3.Connection) -> str | None:
            row = connection.execute(
                "SELECT media_type FROM answers WHERE repository = ? AND digest = ? LIMIT 1", (str(repository), digest)
            ).fetchone()
            return None if row is None else row[0]

        try:
            return await self._state.read(look_up)
        except sqlite3.Error:
            return None

    async def all(self, repository: Repository | None = None) -> tuple[AnswerRow, ...]:
        """Return the answers of ``repository``, or of all, as they are; raises ``sqlite3.Error``."""

        def look_up(connection: sqlite3.Connection) -> list[AnswerRow]:
            rows = connection.execute(
                "SELECT * FROM answers WHERE ? IN ('', repository) ORDER BY repository, resource, accept",
                ("" if repository is None else str(repository),),
            )
            return [AnswerRow(name, resource, accept, _answer(more)) for name, resource, accept, *more in rows]

        return tuple(await self._state.read(look_up))

    async def put(self, row: AnswerRow) -> None:
        """Keep an answer of another node's, unless the one here is younger; raises ``sqlite3.Error``."""
        place = (row.repository, row.resource, row.accept)

        def write(connection: sqlite3.Connection) -> None:
            known = connection.execute(
                "SELECT asked_at FROM answers WHERE repository = ? AND resource = ? AND accept = ?", place
            ).fetchone()
            if known is None or known[0] < row.answer.asked_at:
                _write(connection, place, row.answer)

        await self._state.run(write)

    async def tags(self) -> tuple[KnownTag, ...]:
        """Return every tag with the digest that it had last, the newest answer of each."""

        def look_up(connection: sqlite3.Connection) -> dict[tuple[str, str], KnownTag]:
            rows = connection.execute(
                "SELECT repository, resource, digest, media_type FROM answers WHERE status = 200 AND digest != ''"
                " AND resource LIKE 'manifests/%' ORDER BY asked_at"
            )
            named = (KnownTag(name, resource.partition("/")[2], *more) for name, resource, *more in rows)
            return {(one.repository, one.tag): one for one in named}

        try:
            return tuple((await self._state.read(look_up)).values())
        except sqlite3.Error:
            return ()


def _answer(row: Sequence[Any]) -> LastAnswer:
    """Return the answer in a row of the table, behind its key."""
    status, digest, media_type, headers, body, asked_at = row
    pairs = tuple((name, value) for name, value in orjson.loads(headers))
    return LastAnswer(status, Digest(digest) or None, media_type, pairs, body, asked_at)


def _write(connection: sqlite3.Connection, place: tuple[str, str, str], answer: LastAnswer) -> None:
    body = answer.body if len(answer.body) <= _LONGEST_BODY else b""
    row = (answer.status, answer.digest or "", answer.media_type, orjson.dumps(answer.headers), body, answer.asked_at)
    connection.execute("INSERT OR REPLACE INTO answers VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", (*place, *row))


def _forget(connection: sqlite3.Connection, repository: str, resource: str, accept: str) -> None:
    rows = connection.execute(
        "SELECT accept, media_type FROM answers WHERE repository = ? AND resource = ? AND status = 200",
        (repository, resource),
    )
    for own, media_type in rows.fetchall():
        if own == accept or takes(accept, media_type):
            connection.execute(
                "DELETE FROM answers WHERE repository = ? AND resource = ? AND accept = ?", (repository, resource, own)
            )


def _shorten(connection: sqlite3.Connection) -> None:
    """Let the oldest rows go where there are too many: clients choose the names of tags that are not there."""
    for condition, most in (("status = 200", _MOST_GOOD), ("status != 200", _MOST_OTHERS)):
        connection.execute(
            f"DELETE FROM answers WHERE {condition} AND asked_at <= (SELECT asked_at FROM answers"  # noqa: S608 - ours
            f" WHERE {condition} ORDER BY asked_at DESC LIMIT 1 OFFSET ?)",
            (most,),
        )
