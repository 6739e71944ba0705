"""The content that a repository is known to have, as its tag still names the image that was pushed last.

A registry keeps the content that the manifests under a tag name: configs, layers, and with an anchor the
allotments. It had all of that when it took the image. So one question, which image the tag names, answers for all
of it; what no manifest names, as allotments without an anchor, is asked for one by one.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from twodfs.errors import TwodfsError
from twodfs.oci.digest import Digest
from twodfs.oci.documents import MAX_MANIFEST_BYTES, Descriptor, Index, Manifest, parse_manifest
from twodfs.registry.repository import RemoteRepository
from twodfs.storage.store import ImageStore


@dataclass(frozen=True, slots=True)
class EarlierPush:
    """An image that a tag names.

    Attributes:
        root: its digest; None where nothing is known.
        content: the digests of its manifests, and of the blobs that they name.
    """

    root: Digest | None
    content: frozenset[Digest]


NONE: Final = EarlierPush(None, frozenset())


def find_earlier_push(store: ImageStore, repository: RemoteRepository, tag: str, pushed: Descriptor) -> EarlierPush:
    """Return the image ``pushed``, which ``tag`` was given in an earlier push from ``store``, where it still has it.

    Raises:
        RegistryError: the registry does not answer.
    """
    if not repository.has_manifest(pushed.digest, tag):
        return NONE
    try:
        return EarlierPush(pushed.digest, frozenset(_content(store, pushed)))
    except TwodfsError:  # a part of it has left the store, or rots there: then all is asked for
        return NONE


def _content(store: ImageStore, image: Descriptor) -> Iterator[Digest]:
    top = _parsed(store, image)
    entries = top.manifests if isinstance(top, Index) else ()
    yield from (image.digest, *(one.digest for one in entries))
    for manifest in (_parsed(store, one) for one in entries) if entries else (top,):
        if isinstance(manifest, Manifest):
            yield from (manifest.config.digest, *(layer.digest for layer in manifest.layers))


def _parsed(store: ImageStore, entry: Descriptor) -> Manifest | Index:
    return parse_manifest(store.read(entry.digest, limit=MAX_MANIFEST_BYTES), entry.media_type)
