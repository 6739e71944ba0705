"""Drive `twodfs.flatten.cut.cut` from documents at hand."""

from collections.abc import Mapping

from twodfs.field.field import Field
from twodfs.field.partition import Selection
from twodfs.flatten.cut import Partition, cut
from twodfs.flatten.needs import DocumentAnswer, DocumentKind, DocumentNeed
from twodfs.oci.digest import Digest
from twodfs.oci.documents import Document


def cut_from(
    blobs: Mapping[str, bytes],
    source: Document,
    selection: str | Selection,
    *,
    asked: list[DocumentNeed] | None = None,
    **options: object,
) -> Partition | None:
    """Cut a partition whose source lies in `blobs`, by digest; what was needed goes into `asked`."""

    def answer(need: DocumentNeed) -> DocumentAnswer:
        body = blobs[need.digest]
        match need.kind:
            case DocumentKind.FIELD:
                return Field.parse(body)
            case DocumentKind.SIZE:
                return len(body)
            case _:
                return body

    parsed = Selection.parse(selection) if isinstance(selection, str) else selection
    steps = cut(source, parsed, **options)  # type: ignore[arg-type]
    try:
        needs = next(steps)
        while True:
            if asked is not None:
                asked += needs
            needs = steps.send({need: answer(need) for need in needs})
    except StopIteration as done:
        partition: Partition | None = done.value
        return partition


def documents_of(partition: Partition) -> dict[Digest, bytes]:
    return {document.digest: document.body for document in partition.documents}
