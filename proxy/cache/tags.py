"""Tags that the node has an answer for."""

from __future__ import annotations

from dataclasses import dataclass

from proxy.cache.reference import CachedName
from proxy.edge.disk.directory import EdgeDirectory
from twodfs.errors import TwodfsError
from twodfs.oci.digest import Digest
from twodfs.storage.index import ImageIndex


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


def known_tags(directory: EdgeDirectory) -> dict[CachedName, TagAnswer]:
    """Return every tag that the directory knows, partitions that were cut among them."""
    found = {}
    for name, image in ImageIndex(directory.root).images():
        try:
            found[CachedName.parse(name)] = TagAnswer(image.digest, image.media_type)
        except TwodfsError:
            continue  # another program wrote it
    return found
