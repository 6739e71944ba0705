"""An image that was built, and its record: by that, an unchanged build is known without composing the image anew.

A record is a hint, and nothing in it is precious. It holds for the inputs of its key alone, and every document that
it names is read from the store and hashed; where one is not there, the image is composed as if there were no record.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final, Self

from twodfs import __version__
from twodfs.build.allotments import ReadyBlob
from twodfs.errors import BuildError, FormatError
from twodfs.field.allotment import Allotment
from twodfs.oci.digest import Digest
from twodfs.oci.documents import IMAGE_TYPES, Descriptor, Document, Json, expect
from twodfs.oci.platforms import Platform
from twodfs.storage.store import ImageStore

RECORD_VERSION: Final = 2
"""Goes up when the same allotments on the same base would give another image than before."""

MAX_RECORDED_BYTES: Final = 64 * 1024 * 1024
"""Bytes of a document that is read for a record; an image with a bigger one is composed anew."""


@dataclass(frozen=True, slots=True)
class Built:
    """An image in the store.

    Attributes:
        root: the document that its reference names.
        fields: the documents that list the allotments; several where some are for some platforms only.
        allotments: all of them.
        platforms: of its images.
        base_layers: of the image that has the most.
        documents: all that were composed, ``root`` and ``fields`` among them, in an order that registries take.
        base_blobs: blobs of the base that it names.
        new: those of ``documents`` that the store has never had before.
    """

    root: Document
    fields: tuple[Document, ...]
    allotments: tuple[Allotment, ...]
    platforms: tuple[Platform, ...]
    base_layers: int
    documents: tuple[Document, ...]
    base_blobs: tuple[Descriptor, ...]
    new: frozenset[Digest] = frozenset()

    @property
    def manifests(self) -> tuple[Document, ...]:
        """The manifests that its root names."""
        return tuple(one for one in self.documents if one.media_type in IMAGE_TYPES and one != self.root)

    @property
    def blobs(self) -> tuple[ReadyBlob, ...]:
        """Its blobs but for the allotments: configs, field, layers of the base."""
        own = (one for one in self.documents if one.media_type not in IMAGE_TYPES)
        return (
            *(ReadyBlob(_descriptor(one), is_new=one.digest in self.new) for one in own),
            *map(ReadyBlob, self.base_blobs),
        )


def key_of_plan(base: str, *options: object) -> str:
    """Return the key of the base with the identity ``base``, and of ``options`` whose representation tells them."""
    return hashlib.sha256(repr((RECORD_VERSION, __version__, base, options)).encode()).hexdigest()


def key_of_allotments(allotments: Iterable[Allotment]) -> str:
    """Return the key of ``allotments``, in their order."""
    cells = [(one.row, one.col, one.digest, one.diff_id, one.size, one.media_type) for one in allotments]
    return hashlib.sha256(repr(cells).encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class ImageRecord:
    """The record of an image.

    Attributes:
        plan: the key of its base and options.
        allotments: the key of these.
        documents: the root, the fields, and the others as in ``Built``.
        fields: how many fields there are.
        base_blobs: as in ``Built``, as are the following.
        platforms: of its images.
        base_layers: of the image that has the most.
    """

    plan: str
    allotments: str
    documents: tuple[Descriptor, ...]
    fields: int
    base_blobs: tuple[Descriptor, ...]
    platforms: tuple[Platform, ...]
    base_layers: int

    @classmethod
    def of(cls, built: Built, plan: str) -> Self:
        """Return the record of ``built``, made of the base and options with the key ``plan``."""
        named = (built.root, *built.fields)
        others = (one for one in built.documents if one not in named)
        return cls(
            plan,
            key_of_allotments(built.allotments),
            tuple(_descriptor(one) for one in (*named, *others)),
            len(built.fields),
            built.base_blobs,
            built.platforms,
            built.base_layers,
        )

    @classmethod
    def from_dict(cls, raw: object) -> Self:
        """Return the record in ``raw``.

        Raises:
            FormatError: it is none.
        """
        record: Json = expect(raw, dict, "")
        documents, base_blobs, platforms = (
            expect(record.get(key), list, key) for key in ("documents", "baseBlobs", "platforms")
        )
        fields = expect(record.get("fields"), int, "fields")
        if not 1 <= fields < len(documents):
            raise FormatError("an image has a root and a field", "documents")
        return cls(
            expect(record.get("plan"), str, "plan"),
            expect(record.get("allotments"), str, "allotments"),
            tuple(map(Descriptor.from_dict, documents)),
            fields,
            tuple(map(Descriptor.from_dict, base_blobs)),
            tuple(Platform.of(expect(one, dict, "platforms")) for one in platforms),
            expect(record.get("baseLayers"), int, "baseLayers"),
        )

    def to_dict(self) -> Json:
        """Return the record as JSON."""
        return {
            "plan": self.plan,
            "allotments": self.allotments,
            "documents": [_json(one) for one in self.documents],
            "fields": self.fields,
            "baseBlobs": [_json(one) for one in self.base_blobs],
            "platforms": [one.to_dict() for one in self.platforms],
            "baseLayers": self.base_layers,
        }

    @property
    def root(self) -> Descriptor:
        """The document that the image's reference names."""
        return self.documents[0]

    def image(self, store: ImageStore, allotments: tuple[Allotment, ...]) -> Built | None:
        """Return the image of ``allotments``; None where it is another one, or ``store`` lacks some of it."""
        if key_of_allotments(allotments) != self.allotments:
            return None
        try:
            root, *others = (self._document(store, one) for one in self.documents)
        except BuildError:
            return None
        # In the order of composing: first what others name.
        fields = tuple(others[: self.fields])
        return Built(root, fields, allotments, self.platforms, self.base_layers, (*others, root), self.base_blobs)

    @staticmethod
    def _document(store: ImageStore, one: Descriptor) -> Document:
        return Document(one.media_type, one.digest, store.read(one.digest, limit=MAX_RECORDED_BYTES))


def _descriptor(document: Document) -> Descriptor:
    return Descriptor(document.media_type, document.digest, len(document.body), {})


def _json(one: Descriptor) -> dict[str, Any]:
    return {"mediaType": one.media_type, "digest": one.digest, "size": one.size}
