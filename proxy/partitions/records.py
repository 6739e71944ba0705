"""Records of images: their documents, and the partitions that were cut from them.

Content, partitions and sizes are functions of digests: they never go stale, only become corrupt. Every document
is hashed again when it comes back from a store outside this process.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import ClassVar, Final

import orjson

from proxy.repository import Repository
from proxy.store.records import OVERHEAD_BYTES, CorruptRecordError, Lifetime
from twodfs.errors import TwodfsError
from twodfs.field.cells import PACKED_FORMAT, PackedError
from twodfs.field.field import Field
from twodfs.field.partition import Selection
from twodfs.flatten.cut import FLATTEN_VERSION
from twodfs.oci.digest import Digest, parse_digest, verify
from twodfs.oci.documents import Document

_MOST_WAYS: Final = 32
_LONGEST_SIZE: Final = 19


@dataclass(frozen=True, slots=True)
class Content:
    """A document of a source image: manifest or config."""

    body: bytes = field(repr=False)
    lifetime: ClassVar[Lifetime] = Lifetime.RENEWABLE

    @property
    def weight(self) -> int:
        """Bytes of memory, roughly."""
        return len(self.body) + OVERHEAD_BYTES

    def encode(self) -> bytes:
        """Return the body itself."""
        return self.body


@dataclass(frozen=True, slots=True)
class ContentKey:
    """Source content by its digest, within a repository.

    A registry may take a manifest that names blobs of other repositories, so having read content in one says
    nothing about the right to read it through another.
    """

    repository: Repository
    digest: Digest

    def __str__(self) -> str:
        return f"content:{self.repository}:{self.digest}"

    def decode(self, encoded: bytes) -> Content:
        """Return the content, hashed again."""
        return Content(_verified(encoded, self.digest))


@dataclass(frozen=True, slots=True)
class ParsedField:
    """A field, packed: its JSON, thirty times as costly to open, is not kept."""

    field: Field = field(repr=False)
    lifetime: ClassVar[Lifetime] = Lifetime.RENEWABLE

    @property
    def weight(self) -> int:
        """Bytes of memory, roughly."""
        return len(self.field.packed) + OVERHEAD_BYTES

    def encode(self) -> bytes:
        """Return the packed bytes themselves."""
        return self.field.packed


@dataclass(frozen=True, slots=True)
class FieldKey:
    """A field by the digest of its JSON, within a repository like other content."""

    repository: Repository
    digest: Digest

    def __str__(self) -> str:
        return f"field:{PACKED_FORMAT}:{self.repository}:{self.digest}"

    def decode(self, encoded: bytes) -> ParsedField:
        """Return the field; its cells are not looked at."""
        try:
            return ParsedField(Field.unpack(encoded))
        except PackedError as error:
            raise CorruptRecordError(f"{self}: {error}") from None


@dataclass(frozen=True, slots=True)
class BlobSize:
    """How long a blob is, in bytes."""

    size: int
    weight: int = OVERHEAD_BYTES
    lifetime: ClassVar[Lifetime] = Lifetime.RENEWABLE

    def encode(self) -> bytes:
        """Return the number in decimal."""
        return b"%d" % self.size


@dataclass(frozen=True, slots=True)
class BlobSizeKey:
    """A blob's size by its digest within a repository, for fields that do not record it."""

    repository: Repository
    digest: Digest

    def __str__(self) -> str:
        return f"size:{self.repository}:{self.digest}"

    def decode(self, encoded: bytes) -> BlobSize:
        """Return the size."""
        if not encoded.isdigit() or len(encoded) > _LONGEST_SIZE:
            raise CorruptRecordError(f"{self} is not a number")
        return BlobSize(int(encoded))


@dataclass(frozen=True, slots=True)
class Provenance:
    """The source that a document was cut from: enough to make it again, and to ask for the right to read it."""

    source: Digest
    selection: Selection
    version: int = FLATTEN_VERSION

    def key(self, repository: Repository) -> PartitionKey:
        """Return where the partition that it makes of an image in ``repository`` is kept."""
        return PartitionKey(repository, self.source, self.selection, self.version)


@dataclass(frozen=True, slots=True)
class Provenances:
    """Every way to make a document, newest first.

    An index or manifest names its source, so it has one provenance. A config does not: images that differ
    elsewhere can have the same one, and a client may be allowed to read only some of them.
    """

    ways: tuple[Provenance, ...] = ()
    lifetime: ClassVar[Lifetime] = Lifetime.LASTING

    @property
    def weight(self) -> int:
        """Bytes of memory, roughly."""
        return OVERHEAD_BYTES * (1 + len(self.ways))

    def __or__(self, others: Provenances) -> Provenances:
        """Return these provenances, and behind them those of ``others``: each once, and not too many."""
        return Provenances(tuple(dict.fromkeys((*self.ways, *others.ways)))[:_MOST_WAYS])

    def encode(self) -> bytes:
        """Return the provenances as JSON."""
        return orjson.dumps([(one.version, one.source, str(one.selection)) for one in self.ways])


@dataclass(frozen=True, slots=True)
class ProvenanceKey:
    """The provenances of one of our documents, by the document's digest."""

    digest: Digest

    def __str__(self) -> str:
        return f"recipe:{self.digest}"

    def decode(self, encoded: bytes) -> Provenances:
        """Return the provenances."""
        try:
            ways = [
                Provenance(parse_digest(source), Selection.parse(selection), int(version))
                for version, source, selection in orjson.loads(encoded)
            ]
        except (ValueError, TypeError, AttributeError, TwodfsError):
            raise CorruptRecordError(f"{self} is not a provenance") from None
        return Provenances(tuple(ways))


@dataclass(frozen=True, slots=True)
class CutPartition:
    """A partition that was cut: its documents by digest, and which of them the tag names."""

    provenance: Provenance
    root: Digest
    documents: dict[Digest, Document] = field(repr=False)
    weight: int
    left_out_bytes: int = 0
    """Of the allotments not selected, as far as the field records sizes; for the metrics alone."""
    lifetime: ClassVar[Lifetime] = Lifetime.RENEWABLE

    @classmethod
    def of(
        cls, provenance: Provenance, root: Digest, documents: Iterable[Document], left_out_bytes: int = 0
    ) -> CutPartition:
        """Return the record of ``documents``, ``root`` among them."""
        by_digest = {document.digest: document for document in documents}
        weight = sum(len(document.body) + OVERHEAD_BYTES for document in by_digest.values()) + OVERHEAD_BYTES
        return cls(provenance, root, by_digest, weight, left_out_bytes)

    @property
    def top(self) -> Document:
        """The document that the partition tag names."""
        return self.documents[self.root]

    def encode(self) -> bytes:
        """Return a line of JSON that tells the documents apart, and then their bytes."""
        table = [(one.media_type, one.digest, len(one.body)) for one in self.documents.values()]
        return b"\n".join(
            (
                orjson.dumps([self.root, table, self.left_out_bytes]),
                b"".join(d.body for d in self.documents.values()),
            )
        )


@dataclass(frozen=True, slots=True)
class PartitionKey:
    """A partition by its provenance and repository."""

    repository: Repository
    source: Digest
    selection: Selection
    version: int = FLATTEN_VERSION

    def __str__(self) -> str:
        return f"partition:{self.version}:{self.repository}:{self.source}:{self.selection}"

    def decode(self, encoded: bytes) -> CutPartition:
        """Return the partition, every document hashed again."""
        head, _, bodies = encoded.partition(b"\n")
        try:
            root, table, left_out_bytes = orjson.loads(head)
            documents = []
            at = 0
            for media_type, digest, size in table:
                documents.append(Document(media_type, digest, _verified(bodies[at : at + size], digest)))
                at += size
            provenance = Provenance(self.source, self.selection, self.version)
            partition = CutPartition.of(provenance, root, documents, int(left_out_bytes))
            is_whole = root in partition.documents and all(isinstance(one.media_type, str) for one in documents)
        except (ValueError, TypeError, KeyError, AttributeError):
            raise CorruptRecordError(f"{self} is not a partition") from None
        if not is_whole:
            raise CorruptRecordError(f"{self} lacks its root, or the type of a document")
        return partition


def _verified(body: bytes, digest: Digest) -> bytes:
    try:
        return verify(body, digest)
    except TwodfsError as error:
        raise CorruptRecordError(str(error)) from None
