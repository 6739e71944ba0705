"""A partition cut by a process of its own (``cut_worker``), which asks for the documents that it needs."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Final, TypedDict

import orjson

from proxy.confinement import cut_worker
from proxy.confinement.apart import CostlyError, explain, started
from proxy.confinement.frames import LENGTH_BYTES, Frame, length_of
from twodfs import errors
from twodfs.errors import FormatError, PartitionError
from twodfs.field.field import Field
from twodfs.field.partition import Selection
from twodfs.flatten.cut import Partition
from twodfs.flatten.needs import DocumentAnswer, DocumentKind, DocumentNeed
from twodfs.oci.digest import Digest
from twodfs.oci.documents import Document

_ANSWER_SECONDS: Final = 120.0
_PIECE: Final = 64 * 1024
_PIECES_A_TURN: Final = 16 * _PIECE
# The memory of the process: documents, raw and parsed, and fields twice.
_MEMORY: Final = 1024 * 2**20

Answers = Callable[[tuple[DocumentNeed, ...]], Awaitable[Mapping[DocumentNeed, DocumentAnswer]]]
"""Returns the documents that a cut needs to go on."""


class CutOptions(TypedDict):
    """Arguments of ``twodfs.flatten.cut.cut`` beside the source and the selection."""

    image: str
    max_layers: int
    max_fields: int
    version: int


async def cut_apart(
    document: Document, selection: Selection, options: CutOptions, answers: Answers
) -> Partition | None:
    """Return the partition of ``selection``, None where no image in ``document`` has a field that defines it.

    Raises:
        PartitionError, FormatError: as ``twodfs.flatten.cut.cut`` does; ``CostlyError`` among them.
        EndedError: the process was ended from outside, or could not begin.
    """
    memory = _MEMORY + 2 * options["max_fields"]
    async with started(cut_worker.__name__, (memory,), talks=True) as worker:
        frame = Frame(
            {"source": [document.media_type, document.digest, str(selection)], "options": options}, [document.body]
        )
        while True:
            try:
                async with asyncio.timeout(_ANSWER_SECONDS):
                    await _send(worker, frame)
                    answer = await _receive(worker)
            except TimeoutError:
                raise CostlyError(
                    f"the documents of this image take longer than {_ANSWER_SECONDS:g} s to parse"
                ) from None
            except (asyncio.IncompleteReadError, ConnectionError):
                raise explain(await worker.wait(), "the documents of this image", memory) from None
            if "needs" not in answer.head:
                return _partition(answer)
            needs = tuple(
                DocumentNeed(DocumentKind(kind), Digest(digest), size) for kind, digest, size in answer.head["needs"]
            )
            frame = _answer_frame(await answers(needs))


def _answer_frame(answers: Mapping[DocumentNeed, DocumentAnswer]) -> Frame:
    sizes = {need.digest: answer for need, answer in answers.items() if isinstance(answer, int)}
    bodies = [
        answer.packed if isinstance(answer, Field) else answer
        for answer in answers.values()
        if not isinstance(answer, int)
    ]
    return Frame({"sizes": sizes}, bodies)


def _partition(answer: Frame) -> Partition | None:
    """Return the partition in the last frame, or raise the error there in place of it."""
    match answer.head:
        case {"none": True}:
            return None
        case {"format": [name, problem, path]}:
            kind: type[FormatError] = getattr(errors, name)
            raise kind(problem, path)
        case {"partition": [name, sentence]}:
            reason: type[PartitionError] = getattr(errors, name)
            raise reason(sentence)
    documents = tuple(
        Document(media_type, Digest(digest), body)
        for (media_type, digest), body in zip(answer.head["documents"], answer.bodies, strict=True)
    )
    root = next(one for one in documents if one.digest == answer.head["root"])
    return Partition(Selection.parse(answer.head["selection"]), root, documents, *answer.head["numbers"])


async def _send(worker: asyncio.subprocess.Process, frame: Frame) -> None:
    assert worker.stdin is not None  # noqa: S101 - it was asked for
    for part in frame.parts():
        view = memoryview(part)
        for at in range(0, len(view), _PIECE):
            worker.stdin.write(view[at : at + _PIECE])
            await worker.stdin.drain()
            if not at % _PIECES_A_TURN:
                await asyncio.sleep(0)  # a pipe that takes all at once does not let others in


async def _receive(worker: asyncio.subprocess.Process) -> Frame:
    assert worker.stdout is not None  # noqa: S101 - it always is
    head = orjson.loads(await worker.stdout.readexactly(length_of(await worker.stdout.readexactly(LENGTH_BYTES))))
    return Frame(head, [await worker.stdout.readexactly(size) for size in head.pop("bodies")])
