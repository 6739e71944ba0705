"""Which manifests of a repository name which content.

An index names manifests, a manifest its config and layers. The documents of a partition are named by the image that
it is cut from: the right to read the one is the right to read the other (rule 3 of the design).
"""

from __future__ import annotations

import itertools
import sqlite3
from collections.abc import Iterable, Mapping
from typing import Final

from cachetools import LRUCache

from proxy.edge.disk.pins import NAMES_TABLES
from proxy.edge.disk.state import State
from proxy.repository import Repository
from twodfs.errors import FormatError
from twodfs.oci.digest import Digest
from twodfs.oci.documents import Document, Manifest, parse_manifest

_MOST_KNOWN: Final = 16_384
_MOST_PARENTS: Final = 64
"""Known here, of one blob: a layer may be in thousands of partitions, of which a few are pulled now."""
_PIECE: Final = 500
_MOST_LEVELS: Final = 6
"""From a blob to the image that a client asked for: manifest, index, and an index in an index or two."""


class Names:
    """The names in all manifests that passed."""

    def __init__(self, state: State) -> None:
        self._state = state
        self._parents: LRUCache[tuple[Repository, Digest], frozenset[Digest]] = LRUCache(_MOST_KNOWN)
        self._named: LRUCache[tuple[Repository, Digest], bool] = LRUCache(_MOST_KNOWN)

    @classmethod
    async def open(cls, state: State) -> Names:
        """Return the names in ``state``; raises ``sqlite3.Error``."""
        await state.add(*NAMES_TABLES)
        return cls(state)

    async def name(self, repository: Repository, parent: Digest, children: Mapping[Digest, int]) -> None:
        """Keep that ``parent`` names ``children``, with the size of each in bytes."""
        if (repository, parent) in self._named and all(
            parent in self._parents.get((repository, child), ()) for child in children
        ):
            return
        rows = [(str(repository), parent, child, size) for child, size in children.items()]
        if await self._state.remember(
            lambda connection: connection.executemany("INSERT OR REPLACE INTO names VALUES (?, ?, ?, ?)", rows)
        ):
            self._named[repository, parent] = True
            for child in children:
                place = (repository, child)
                known = self._parents.get(place, frozenset())
                self._parents[place] = known | {parent} if len(known) < _MOST_PARENTS else frozenset({parent})

    async def name_document(self, repository: Repository, document: Document) -> None:
        """Keep the names in ``document``, a manifest or index; of anything else, nothing."""
        if (repository, document.digest) not in self._named:
            await self.name(repository, document.digest, children_of(document))

    async def name_partition(self, repository: Repository, source: Digest, documents: Iterable[Document]) -> None:
        """Keep that ``source`` names the ``documents`` that were cut from it, and the names in them."""
        cut = tuple(documents)
        if all((repository, document.digest) in self._named for document in cut) and all(
            source in self._parents.get((repository, document.digest), ()) for document in cut
        ):
            return
        await self.name(repository, source, {document.digest: len(document.body) for document in cut})
        for document in cut:
            await self.name_document(repository, document)

    async def ancestors(self, repository: Repository, digest: Digest) -> frozenset[Digest]:
        """Return the digests of all documents of ``repository`` that name ``digest``, directly or through others."""
        # Another worker may have added some, so memory is not the last word.
        return await self._state.read(lambda connection: _ancestors(connection, str(repository), digest))

    def known_parents(self, repository: Repository, digest: Digest) -> frozenset[Digest]:
        """Return the documents known here to name ``digest``, without a look at the file; there may be more."""
        return self._parents.get((repository, digest), frozenset())

    async def size(self, repository: Repository, digest: Digest) -> int | None:
        """Return the bytes that a manifest of ``repository`` says that ``digest`` has; None where none is known to."""
        try:
            row = await self._state.read(
                lambda connection: connection.execute(
                    "SELECT size FROM names WHERE repository = ? AND child = ? LIMIT 1", (str(repository), digest)
                ).fetchone()
            )
        except sqlite3.Error:
            return None  # the registry says it, too
        return None if row is None else row[0]

    async def children(self, repository: Repository, parent: Digest) -> dict[Digest, int]:
        """Return the content that ``parent`` names, with the size of each in bytes."""
        rows = await self._state.read(
            lambda connection: connection.execute(
                "SELECT child, size FROM names WHERE repository = ? AND parent = ?", (str(repository), parent)
            ).fetchall()
        )
        return {Digest(child): size for child, size in rows}


def _ancestors(connection: sqlite3.Connection, repository: str, digest: Digest) -> frozenset[Digest]:
    found: set[Digest] = set()
    level = {digest}
    for _ in range(_MOST_LEVELS):
        parents: set[Digest] = set()
        names = iter(level)
        while piece := tuple(itertools.islice(names, _PIECE)):
            marks = ",".join("?" * len(piece))
            rows = connection.execute(
                f"SELECT parent FROM names WHERE repository = ? AND child IN ({marks})",  # noqa: S608 - ours
                (repository, *piece),
            )
            parents.update(Digest(parent) for (parent,) in rows)
        level = parents - found
        if not level:
            break
        found |= level
    return frozenset(found)


def children_of(document: Document) -> dict[Digest, int]:
    """Return the content that a manifest or index names, with the size of each in bytes; {} for anything else."""
    try:
        parsed = parse_manifest(document.body, document.media_type)
    except FormatError:
        return {}
    entries = (parsed.config, *parsed.layers) if isinstance(parsed, Manifest) else parsed.manifests
    return {entry.digest: entry.size for entry in entries}
