"""The documents and blobs of an image, each once."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import partial
from typing import Final

from twodfs.concurrency import concurrently
from twodfs.errors import BuildError
from twodfs.field.allotment import Allotment
from twodfs.field.document import read_field
from twodfs.flatten.budget import MAX_FIELD_BYTES
from twodfs.images.source import TRANSFERS, SizedSource, allotted_blob
from twodfs.oci.digest import Digest
from twodfs.oci.documents import IMAGE_TYPES, Descriptor, Document, Index, Manifest, parse_manifest

_MOST_LEVELS: Final = 4


@dataclass(frozen=True, slots=True)
class CopiedContent:
    """What an image consists of.

    Attributes:
        levels: its documents, the image's own in the first one, and in each those that the one before names.
        blobs: by digest.
        places: of the allotments, for people; of the same content twice, the first place.
    """

    levels: list[list[Document]] = field(default_factory=list)
    blobs: dict[Digest, Descriptor] = field(default_factory=dict)
    places: dict[Digest, str] = field(default_factory=dict)

    @property
    def documents(self) -> list[Document]:
        """All of them, in the order in which a registry accepts them."""
        return [one for level in reversed(self.levels) for one in level]


def content_of(source: SizedSource, root: Document) -> CopiedContent:
    """Return what ``root`` consists of in ``source``.

    Layers that registries must not give, and have addresses of their own for, are left out.

    Raises:
        BuildError: it is an index in indexes, too deep.
        FormatError: a document is malformed.
        TwodfsError: the source does not give one.
    """
    content = CopiedContent()
    seen = {root.digest}
    level = [root]
    while level:
        if len(content.levels) == _MOST_LEVELS:
            raise BuildError(f"{root.digest} is an index in indexes, more than {_MOST_LEVELS} deep")
        content.levels.append(level)
        entries: dict[Digest, Descriptor] = {}
        for document in level:
            parsed = parse_manifest(document.body, document.media_type)
            if isinstance(parsed, Index):
                entries |= {one.digest: one for one in parsed.manifests if one.digest not in seen}
            else:
                _take_blobs(source, parsed, content)
        seen |= set(entries)
        level = _documents(source, entries.values())
    return content


def _documents(source: SizedSource, entries: Iterable[Descriptor]) -> list[Document]:
    wanted = [one for one in entries if one.media_type in IMAGE_TYPES]
    found = concurrently([partial(source.manifest, one.digest) for one in wanted], limit=TRANSFERS)
    return [Document(one.media_type, one.digest, document.body) for one, document in zip(wanted, found, strict=True)]


def _take_blobs(source: SizedSource, manifest: Manifest, content: CopiedContent) -> None:
    for position in manifest.field_positions():
        layer = manifest.layers[position]
        if layer.digest not in content.blobs:
            _take_allotments(source, list(read_field(source.blob(layer.digest, limit=MAX_FIELD_BYTES))), content)
    kept = (one for one in (manifest.config, *manifest.layers) if not one.raw.get("urls"))
    content.blobs.update({one.digest: one for one in kept})


def _take_allotments(source: SizedSource, cells: list[Allotment], content: CopiedContent) -> None:
    new = {one.digest: one for one in reversed(cells) if one.digest not in content.blobs}  # of equal ones the first
    sized = concurrently([partial(allotted_blob, source, one) for one in new.values()], limit=TRANSFERS)
    content.blobs.update({one.digest: one for one in sized})
    content.places.update({digest: f"row {one.row}, column {one.col}" for digest, one in new.items()})
