"""Questions of a cut, and the answers that it is sent."""

from __future__ import annotations

from collections.abc import Generator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final, TypeAlias, TypeVar

from twodfs.field.field import Field
from twodfs.oci.digest import Digest

T = TypeVar("T")


class DocumentKind(StrEnum):
    """The answer to a ``DocumentNeed``."""

    MANIFEST = "manifest"  # bytes that hash to the digest
    CONFIG = "config"  # bytes that hash to the digest
    FIELD = "field"  # the parsed Field
    SIZE = "size"  # the blob's size in bytes, an int


@dataclass(frozen=True, slots=True)
class DocumentNeed:
    """Something ``cut`` cannot know by itself."""

    kind: DocumentKind
    digest: Digest
    announced: int = field(default=0, compare=False)
    """Bytes that it has, as its descriptor says."""


DocumentAnswer: TypeAlias = "bytes | Field | int"
Steps: TypeAlias = "Generator[tuple[DocumentNeed, ...], Mapping[DocumentNeed, DocumentAnswer], T]"

TURN: Final[tuple[DocumentNeed, ...]] = ()
"""A batch of nothing: others may have their turn."""


def in_turns(working: Generator[None, None, T]) -> Steps[T]:
    """Return the result of ``working``, with a turn for other tasks after each of its steps."""
    while True:
        try:
            next(working)
        except StopIteration as done:
            result: T = done.value
            return result
        yield TURN


def bytes_in(answers: Mapping[DocumentNeed, DocumentAnswer], need: DocumentNeed) -> bytes:
    """Return the bytes that ``need`` was answered with; raises ``TypeError`` where it was something else."""
    answer = answers[need]
    if not isinstance(answer, bytes):
        raise TypeError(f"{need} takes bytes, was sent {type(answer).__name__}")
    return answer


def field_in(answers: Mapping[DocumentNeed, DocumentAnswer], need: DocumentNeed) -> Field:
    """Return the field that ``need`` was answered with; raises like ``bytes_in``."""
    answer = answers[need]
    if not isinstance(answer, Field):
        raise TypeError(f"{need} takes a Field, was sent {type(answer).__name__}")
    return answer


def size_from(need: DocumentNeed, answer: DocumentAnswer) -> int:
    """Return the size that ``need`` was answered with; raises like ``bytes_in``."""
    if not isinstance(answer, int):
        raise TypeError(f"{need} takes an int, was sent {type(answer).__name__}")
    return answer
