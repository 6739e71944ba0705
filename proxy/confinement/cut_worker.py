"""Cut one partition of an image with large documents: ``python -m proxy.confinement.cut_worker MEMORY``.

It runs ``twodfs.flatten.cut.cut`` as the proxy does, and asks on standard output for the documents that it needs.
The source comes in the first frame on standard input, answers in the following ones.
"""

from __future__ import annotations

import sys
from typing import BinaryIO, Final

import orjson

from proxy.confinement.confined import OUT_OF_MEMORY, confine
from proxy.confinement.frames import LENGTH_BYTES, Frame, length_of
from twodfs.errors import FormatError, PartitionError
from twodfs.field.field import Field
from twodfs.field.partition import Selection
from twodfs.flatten.cut import Partition, cut
from twodfs.flatten.needs import DocumentAnswer, DocumentKind, DocumentNeed
from twodfs.oci.digest import Digest
from twodfs.oci.documents import Document

_FORMAT: Final = "format"
_PARTITION: Final = "partition"


def main() -> int:
    """Cut as standard input asks; returns the exit status."""
    confine(int(sys.argv[1]))
    try:
        _send(sys.stdout.buffer, _cut(sys.stdin.buffer, sys.stdout.buffer))
    except MemoryError:
        return OUT_OF_MEMORY
    return 0


def _cut(questions: BinaryIO, answers: BinaryIO) -> Frame:
    asked = _receive(questions)
    media_type, digest, selection = asked.head["source"]
    source = Document(media_type, Digest(digest), asked.bodies[0])
    try:
        steps = cut(source, Selection.parse(selection), **asked.head["options"])
        needs = next(steps)
        while True:
            needs = steps.send(_answers(needs, questions, answers) if needs else {})
    except StopIteration as done:
        partition: Partition | None = done.value
        return Frame({"none": True}) if partition is None else _told(partition)
    except FormatError as error:
        return Frame({_FORMAT: [type(error).__name__, error.problem, error.path]})
    except PartitionError as error:
        return Frame({_PARTITION: [type(error).__name__, str(error)]})


def _answers(
    needs: tuple[DocumentNeed, ...], questions: BinaryIO, answers: BinaryIO
) -> dict[DocumentNeed, DocumentAnswer]:
    _send(answers, Frame({"needs": [(need.kind, need.digest, need.announced) for need in needs]}))
    answer = _receive(questions)
    bodies = iter(answer.bodies)
    answered: dict[DocumentNeed, DocumentAnswer] = {}
    for need in needs:
        match need.kind:
            case DocumentKind.SIZE:
                answered[need] = answer.head["sizes"][need.digest]
            case DocumentKind.FIELD:
                answered[need] = Field.unpack(next(bodies))
            case DocumentKind.MANIFEST | DocumentKind.CONFIG:
                answered[need] = next(bodies)
    return answered


def _told(partition: Partition) -> Frame:
    documents = partition.documents
    return Frame(
        {
            "selection": str(partition.selection),
            "root": partition.root.digest,
            "documents": [(one.media_type, one.digest) for one in documents],
            "numbers": [partition.allotments, partition.selected_bytes, partition.left_out_bytes],
        },
        [one.body for one in documents],
    )


def _send(stream: BinaryIO, frame: Frame) -> None:
    stream.writelines(frame.parts())
    stream.flush()


def _receive(stream: BinaryIO) -> Frame:
    """Return the next frame; the process ends quietly where the proxy has gone away."""
    head = orjson.loads(_exactly(stream, length_of(_exactly(stream, LENGTH_BYTES))))
    return Frame(head, [_exactly(stream, size) for size in head.pop("bodies")])


def _exactly(stream: BinaryIO, size: int) -> bytes:
    read = stream.read(size)
    if len(read) != size:
        sys.exit(0)
    return read


if __name__ == "__main__":
    sys.exit(main())
