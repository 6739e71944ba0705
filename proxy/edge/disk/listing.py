"""The directory as an OCI image layout: ``index.json`` has the images and partitions whose top document is there.

An image is named ``REPOSITORY:TAG``, one of an upstream that has a name ``UPSTREAM@REPOSITORY:TAG``; so
``skopeo inspect oci:DIRECTORY:library/model:v1--0.0.1.2`` reads a partition. The list is in the state, shared by the
workers, and the file is written from it. Images that others add to the file, as ``skopeo copy … oci:DIRECTORY:NAME``
does, stay in it.
"""

from __future__ import annotations

import asyncio
import sqlite3
import time
from pathlib import Path
from typing import Any, Final

import orjson

from proxy.edge.disk.blobs import Blobs
from proxy.edge.disk.directory import EdgeDirectory
from proxy.edge.disk.files import Faults, write_atomically
from proxy.edge.disk.state import State
from proxy.repository import Repository
from twodfs.oci.digest import Digest, is_digest
from twodfs.oci.documents import OCI_INDEX

LISTING_TABLES: Final = (
    """CREATE TABLE IF NOT EXISTS listed (name TEXT PRIMARY KEY, digest TEXT NOT NULL, media_type TEXT NOT NULL,
    size INTEGER NOT NULL, at REAL NOT NULL) WITHOUT ROWID""",
    "CREATE INDEX IF NOT EXISTS listed_by_age ON listed (at)",
)
NAME: Final = "org.opencontainers.image.ref.name"
_OURS: Final = "dev.twodfs.edge"
"""Annotation of the entries that come and go with the state."""
_MOST_LISTED: Final = 10_000
_MOST_BYTES: Final = 16 * 2**20
_PAUSE: Final = 1.0
"""Seconds in which changes are gathered."""
_TRIES: Final = 5
_KEEP: Final = """
    INSERT INTO listed VALUES (?, ?, ?, ?, ?) ON CONFLICT (name) DO UPDATE
    SET digest = excluded.digest, media_type = excluded.media_type, size = excluded.size, at = excluded.at
    WHERE digest != excluded.digest OR at < excluded.at - 3600
"""
"""An entry's age is written once in an hour."""


class ImageList:
    """The images of an edge directory; never raises."""

    def __init__(self, directory: EdgeDirectory, state: State, blobs: Blobs) -> None:
        self._directory = directory
        self._state = state
        self._blobs = blobs
        self._changed = asyncio.Event()
        self._faults = Faults()

    async def named(self, repository: Repository, tag: str, digest: Digest, media_type: str, size: int) -> None:
        """List what a tag names, in the place of what it named before.

        Args:
            repository: of the tag.
            tag: of an image or a partition.
            digest: of the manifest or index.
            media_type: of it.
            size: of it, in bytes.
        """
        row = (listed_name(repository, tag), digest, media_type, size, time.time())
        if await self._state.remember(lambda c: c.execute(_KEEP, row)):
            self._changed.set()

    async def forgotten(self, repository: Repository, tag: str) -> None:
        """List a tag no more."""
        name = listed_name(repository, tag)
        if await self._state.remember(lambda c: c.execute("DELETE FROM listed WHERE name = ?", (name,))):
            self._changed.set()

    async def keep_written(self) -> None:
        """Write the file after changes of this process, until cancelled."""
        while True:
            await self._changed.wait()
            await asyncio.sleep(_PAUSE)
            self._changed.clear()
            await self.write()

    async def write(self) -> None:
        """Write the file where it is not as it should be."""
        try:
            # Another worker may write what it read before our change: whoever writes looks again.
            for _ in range(_TRIES):
                rows = await self._state.read(_newest)
                if not await asyncio.to_thread(self._write, rows):
                    return
        except (OSError, sqlite3.Error) as error:
            self._faults.tell("writing index.json", error)

    def _write(self, rows: list[tuple[str, Digest, str, int]]) -> bool:
        """Write the file; say whether it was another before."""
        there = _content(self._directory.index)
        entries = [_entry(*row) for row in rows if self._blobs.has(row[1])]
        names = {row[0] for row in rows}
        foreign = [one for one in _entries(there) if _is_foreign(one, names) and self._blobs.has(one["digest"])]
        wanted = orjson.dumps({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [*entries, *foreign]})
        if wanted == there:
            return False
        write_atomically(self._directory.index, wanted)
        return True


def listed_name(repository: Repository, tag: str) -> str:
    """Return the name of an image in the list; no two images have the same, since no repository has an ``@``."""
    return f"{repository.upstream}@{repository.name}:{tag}" if repository.upstream else f"{repository.name}:{tag}"


def _newest(connection: sqlite3.Connection) -> list[tuple[str, Digest, str, int]]:
    rows = connection.execute(
        "SELECT name, digest, media_type, size FROM listed ORDER BY at DESC LIMIT ?", (_MOST_LISTED,)
    )
    return sorted(rows.fetchall())


def _entry(name: str, digest: Digest, media_type: str, size: int) -> dict[str, Any]:
    return {"mediaType": media_type, "digest": digest, "size": size, "annotations": {NAME: name, _OURS: "1"}}


def _content(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(_MOST_BYTES)
    except FileNotFoundError:
        return b""


def _entries(content: bytes) -> list[dict[str, Any]]:
    """Return the entries of an index as far as they are any; none of one that is damaged."""
    try:
        found = orjson.loads(content)["manifests"]
    except (ValueError, KeyError, TypeError):
        return []
    entries = [one for one in found if isinstance(one, dict)] if isinstance(found, list) else []
    return [one for one in entries if isinstance(one.get("digest"), str) and is_digest(one["digest"])]


def _is_foreign(entry: dict[str, Any], ours: set[str]) -> bool:
    """Say whether somebody else added an entry, under a name that none of ours has."""
    annotations = entry.get("annotations")
    if not isinstance(annotations, dict):
        return True
    name = annotations.get(NAME)
    return _OURS not in annotations and not (isinstance(name, str) and name in ours)
