"""A record of every kind, as stores keep them: of one image, cut by hand."""

from typing import Any, Final

from proxy.partitions.records import (
    BlobSize,
    BlobSizeKey,
    Content,
    ContentKey,
    CutPartition,
    FieldKey,
    ParsedField,
    Provenance,
    ProvenanceKey,
    Provenances,
)
from proxy.repository import DEFAULT_UPSTREAM, Repository
from proxy.signing.records import Signature, SignatureKey, Subject, SubjectKey
from proxy.store.records import Record, RecordKey
from proxy.tags.records import PartitionNames, PartitionNamesKey
from tests.lab.cutting import cut_from
from tests.lab.handmade import Image
from twodfs.field.field import Field
from twodfs.field.partition import Selection
from twodfs.oci.digest import digest_of

_IMAGE: Final = Image()
_SOURCE: Final = _IMAGE.document(_IMAGE.manifest(partitions={"edge": "0.0.1.1"}))
_CUT: Final = cut_from(_IMAGE.blobs, _SOURCE, "0.0.0.1")
assert _CUT is not None
_FIELD: Final = next(body for body in _IMAGE.blobs.values() if b'"allotments"' in body)

REPOSITORY: Final = Repository(DEFAULT_UPSTREAM, "a/b")
BODY: Final = b'{"a":1}'
DIGEST: Final = digest_of(BODY)
SOURCE: Final = _SOURCE.digest
SELECTION: Final = Selection.parse("0.0.0.1")
PROVENANCE: Final = Provenance(SOURCE, SELECTION)
PARTITION: Final = CutPartition.of(PROVENANCE, _CUT.root.digest, _CUT.documents)

SIZE_KEY: Final = BlobSizeKey(REPOSITORY, DIGEST)
PROVENANCE_KEY: Final = ProvenanceKey(PARTITION.root)
PARTITION_KEY: Final = PROVENANCE.key(REPOSITORY)
RECORDS: Final[dict[RecordKey[Any], Record]] = {
    ContentKey(REPOSITORY, DIGEST): Content(BODY),
    FieldKey(REPOSITORY, digest_of(_FIELD)): ParsedField(Field.parse(_FIELD)),
    SIZE_KEY: BlobSize(12345678901234),
    PROVENANCE_KEY: Provenances((PROVENANCE, Provenance(digest_of(b"other"), SELECTION))),
    PARTITION_KEY: PARTITION,
    PartitionNamesKey(REPOSITORY, SOURCE): PartitionNames(("edge", "gpu")),
    SubjectKey(DIGEST): Subject(PARTITION.root),
    SignatureKey(DIGEST, "sha256:fingerprint"): Signature(b"\x30\x02\xff\x00"),
}
