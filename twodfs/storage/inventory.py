"""The blobs that an image of the store consists of, as far as they can be read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from twodfs.errors import DamagedError, TwodfsError
from twodfs.field.allotment import Allotment
from twodfs.field.document import read_field
from twodfs.flatten.budget import MAX_FIELD_BYTES
from twodfs.oci.digest import Digest
from twodfs.oci.documents import MAX_MANIFEST_BYTES, Descriptor, Document, Manifest, parse_manifest
from twodfs.storage.store import ImageStore


@dataclass(frozen=True, slots=True)
class Inventory:
    """The parts of an image, each once.

    Attributes:
        documents: its manifests, the image's own first.
        blobs: configs and layers, fields among them.
        allotments: the blobs that its fields point to.
        places: of the allotments, for people; of the same content twice, the first place.
        cells: how many allotments there are, those with the same content counted apart.
        problems: why some of it is not known.
    """

    documents: Sequence[Document]
    blobs: Mapping[Digest, Descriptor]
    allotments: Mapping[Digest, Descriptor]
    places: Mapping[Digest, str]
    cells: int
    problems: Sequence[TwodfsError]


def take_inventory(store: ImageStore, image: Descriptor) -> Inventory:
    """Return the blobs that ``image`` consists of."""
    reading = _Reading(store)
    reading.manifest(image)
    return Inventory(
        reading.documents,
        reading.blobs,
        reading.allotments,
        reading.places,
        reading.cells,
        reading.problems,
    )


class _Reading:
    """An image that is read from its root downwards; unreadable parts are skipped."""

    def __init__(self, store: ImageStore) -> None:
        self._store = store
        self.documents: list[Document] = []
        self.blobs: dict[Digest, Descriptor] = {}
        self.allotments: dict[Digest, Descriptor] = {}
        self.places: dict[Digest, str] = {}
        self.cells = 0
        self.problems: list[TwodfsError] = []

    def manifest(self, entry: Descriptor, *, in_index: bool = False) -> None:
        try:
            body = self._store.read(entry.digest, limit=MAX_MANIFEST_BYTES)
            parsed = parse_manifest(body, entry.media_type)
        except TwodfsError as error:
            self.problems.append(error)
            return
        self.documents.append(Document(entry.media_type, entry.digest, body))
        if isinstance(parsed, Manifest):
            self._blobs(parsed)
        elif not in_index:
            for one in {one.digest: one for one in parsed.manifests}.values():
                self.manifest(one, in_index=True)

    def _blobs(self, manifest: Manifest) -> None:
        fields = [manifest.layers[at] for at in manifest.field_positions()]
        for field in {one.digest: one for one in fields}.values():
            if field.digest not in self.blobs:
                self._field(field.digest)
        self.blobs |= {one.digest: one for one in (manifest.config, *manifest.layers)}

    def _field(self, digest: Digest) -> None:
        try:
            field = read_field(self._store.read(digest, limit=MAX_FIELD_BYTES))
        except TwodfsError as error:
            self.problems.append(error)
            return
        self.cells += field.count
        for one in field:
            try:
                self.allotments[one.digest] = stored_blob(self._store, one)
            except DamagedError as error:
                self.problems.append(error)
            else:
                self.places.setdefault(one.digest, f"row {one.row}, column {one.col}")


def stored_blob(store: ImageStore, one: Allotment) -> Descriptor:
    """Return the descriptor of an allotment's blob; a field in the original's form says no sizes.

    Raises:
        DamagedError: nothing tells the size, as the store does not have it.
    """
    size = store.size(one.digest) if one.size is None else one.size
    if size is None:
        raise store.lacks(one.digest)
    return Descriptor(one.media_type, one.digest, size, {})
