"""Tags that the node has an answer for."""

from __future__ import annotations

import asyncio
import contextlib
import re
from dataclasses import dataclass
from typing import Final

from proxy.cache.images.reference import CachedName
from proxy.edge.disk.store import EdgeStore
from proxy.edge.offline.answers import Answers
from proxy.repository import Repository
from twodfs.errors import InvalidReferenceError
from twodfs.oci.digest import Digest
from twodfs.storage.index import ImageIndex

_ATTACHED: Final = re.compile(r"sha256-[0-9a-f]{64}(\.[a-z]+)?")


@dataclass(frozen=True, slots=True)
class TagAnswer:
    """The manifest that a tag named when the registry was asked last.

    Attributes:
        digest: of the manifest or index.
        media_type: of it.
        asked_at: when that was, in seconds since 1970; None where it is not known.
    """

    digest: Digest
    media_type: str
    asked_at: float | None = None


async def known_tags(store: EdgeStore, answers: Answers) -> dict[CachedName, TagAnswer]:
    """Return every tag that the node knows, partitions that were cut among them.

    Raises:
        BuildError: the directory's ``index.json`` is malformed.
        sqlite3.Error: the state cannot be read.
    """
    found = {}
    listed = await asyncio.to_thread(ImageIndex(store.directory.root).images)  # another program's images, too
    for text, image in listed:
        with contextlib.suppress(InvalidReferenceError):
            found[CachedName.parse(text)] = TagAnswer(image.digest, image.media_type)
    rows = await store.state.read(lambda c: c.execute("SELECT name, digest, media_type FROM listed").fetchall())
    for text, digest, media_type in rows:
        with contextlib.suppress(InvalidReferenceError):
            found[CachedName.parse(text)] = TagAnswer(Digest(digest), media_type)
    times: dict[CachedName, float] = {}
    for row in await answers.all():
        kind, _, tag = row.resource.partition("/")
        name, answer = CachedName.of(Repository.of_key(row.repository), tag), row.answer
        is_newest = times.get(name, 0.0) <= answer.asked_at
        if kind == "manifests" and answer.is_good and answer.digest and is_newest and not is_attached(tag):
            times[name] = answer.asked_at
            found[name] = TagAnswer(answer.digest, answer.media_type, answer.asked_at)
    return found


def is_attached(tag: str) -> bool:
    """Say whether a tag is one under which clients keep what belongs to an image, such as its signatures."""
    return _ATTACHED.fullmatch(tag) is not None
