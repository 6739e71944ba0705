"""An image or a partition, with all of it, from one repository to another."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from twodfs.concurrency import concurrently
from twodfs.copying.blobs import BlobCarrier
from twodfs.copying.content import content_of
from twodfs.copying.referrers import list_referrers, listed_referrers, referrers_of
from twodfs.images.source import TRANSFERS, SizedSource
from twodfs.oci.digest import Digest
from twodfs.oci.documents import Document
from twodfs.progress import Progress
from twodfs.publish.cutting import CutImage, FoundImage
from twodfs.publish.push import LOOKUPS, Pushed
from twodfs.registry.repository import RemoteRepository
from twodfs.registry.upload.parts import UploadMemory


@dataclass(frozen=True, slots=True, kw_only=True)
class Copying:
    """A planned copy.

    Attributes:
        image: as it was found in ``source``; a partition becomes an ordinary image.
        source: where it is.
        target: where it goes.
        tag: that it gets there.
        mounts: whether both are in one registry.
        referrers: whether signatures and other referrers go along.
        memory: uploads that were begun before.
    """

    image: FoundImage
    source: RemoteRepository
    target: RemoteRepository
    tag: str
    mounts: bool
    referrers: bool
    memory: UploadMemory


@dataclass(frozen=True, slots=True)
class Copied:
    """The result of a copy: what went where, and how many referrers were copied."""

    pushed: Pushed
    referrers: int


def copy_image(asked: Copying, progress: Progress) -> Copied:
    """Copy an image; what is there is left out, so a copy that was interrupted goes on.

    Raises:
        BuildError: it nests too deep, or has too many referrers.
        FormatError: a document is malformed.
        RegistryError: a registry refuses.
        DigestError: the source has other content than its digests say.
    """
    made = asked.image.source.documents if isinstance(asked.image.source, CutImage) else {}
    carrier = BlobCarrier(asked.source, asked.target, made, progress, mounts=asked.mounts, memory=asked.memory)
    copy = _Copy(asked, carrier)
    documents = copy.tree(asked.image.source, asked.image.root, asked.tag)
    if asked.referrers:
        copy.referrers_of(documents)
    pushed = Pushed.of(asked.image.root, carrier.sent, carrier.mounted, carrier.present)
    return Copied(pushed, copy.referrers)


class _Copy:
    """A copy that is under way."""

    def __init__(self, asked: Copying, carrier: BlobCarrier) -> None:
        self._asked = asked
        self._carrier = carrier
        self._done: set[Digest] = set()
        self.referrers = 0

    def tree(self, source: SizedSource, root: Document, tag: str | None) -> list[Document]:
        """Copy ``root`` and all that it consists of; return its documents."""
        target = self._asked.target
        content = content_of(source, root)
        blobs = [one for one in content.blobs.values() if one.digest not in self._done]
        places = content.places
        # Two at least, so that each runs in a thread of its own, which an interruption lets finish its part.
        jobs: list[Callable[[], None]] = [_nothing]
        jobs += [partial(self._carrier.carry, one, places.get(one.digest, "")) for one in blobs]
        concurrently(jobs, limit=LOOKUPS)
        for level in reversed(content.levels[1:]):
            concurrently([partial(self._put, one) for one in level], limit=TRANSFERS)
        if not target.has_manifest(root.digest, tag):
            target.put_manifest(root, tag)
        self._done |= {*content.blobs, *(one.digest for one in content.documents)}
        return content.documents

    def referrers_of(self, documents: list[Document]) -> None:
        """Copy what refers to ``documents``, and what refers to that."""
        asked = self._asked
        waiting = [one.digest for one in documents]
        seen = set(waiting)
        while waiting:
            digest = waiting.pop()
            listed = listed_referrers(asked.source, digest)
            for referrer in referrers_of(asked.source, digest, listed):
                if referrer.document.digest not in seen or referrer.tag:
                    copied = self.tree(asked.source, referrer.document, referrer.tag or None)
                    self.referrers += referrer.document.digest not in seen
                    waiting += [one.digest for one in copied if one.digest not in seen]
                    seen.update(one.digest for one in copied)
            list_referrers(asked.target, digest, listed)

    def _put(self, document: Document) -> None:
        if not self._asked.target.has_manifest(document.digest):
            self._asked.target.put_manifest(document)


def _nothing() -> None:
    """Be one of two jobs."""
