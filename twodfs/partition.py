"""The grammar of partition tags, and the selections they stand for.

::

    partition-tag  = base-tag 1*( separator rectangle )      ; at most 128 characters in all
    base-tag       = [A-Za-z0-9_] *[A-Za-z0-9._-]            ; OCI distribution-spec, "Pulling manifests"
    separator      = "--" / "+"
    rectangle      = x1 "." y1 "." x2 "." y2                 ; decimal, leading zeros allowed
                                                             ; x = row, y = column, both ends inclusive

The paper writes ``+`` ("Beyond Layers", section 4.3), which lies outside the tag grammar, so Docker refuses
it before it sends anything; ``--`` is canonical. A chain of rectangles is their union.

A tag can be read in more than one way: ``v1--1.2.3.4--0.0.0.1`` is two rectangles of ``v1``, or one
rectangle of the tag ``v1--1.2.3.4``. ``readings`` lists all, longest chain first; which one holds is decided
by the tags that exist.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from twodfs.errors import PartitionError

MAX_TAG_LENGTH = 128

# Matching takes time that grows with the square of the length; longer text is no slip of the pen.
_LONGEST_READ = 8 * MAX_TAG_LENGTH

_NUMBERS = r"[0-9]+\.[0-9]+\.[0-9]+\.[0-9]+"
_LINK = rf"(?:--|\+){_NUMBERS}"
_PARTITION_TAG = re.compile(rf"(?P<base>[A-Za-z0-9_][A-Za-z0-9._-]*?)(?P<chain>(?:{_LINK})+)")
_ONE_LINK = re.compile(_LINK)
_SELECTION = re.compile(rf"{_NUMBERS}(?:--{_NUMBERS})*")


@dataclass(frozen=True, slots=True, order=True)
class Rectangle:
    """Rows ``x1..x2`` and columns ``y1..y2``, both ends inclusive."""

    x1: int
    y1: int
    x2: int
    y2: int

    @classmethod
    def parse(cls, text: str) -> Rectangle:
        """Return the rectangle that ``text`` (``x1.y1.x2.y2``) writes; it may be inverted."""
        return cls(*(int(number) for number in text.split(".")))

    def check(self) -> None:
        """Raise ``PartitionError`` when an end lies before its start."""
        for axis, first, last in (("rows", self.x1, self.x2), ("columns", self.y1, self.y2)):
            if first > last:
                raise PartitionError(
                    f"partition {self} is inverted: {axis} {first}..{last} end before they begin; "
                    f"write it as first-row.first-column.last-row.last-column"
                )

    def __str__(self) -> str:
        return f"{self.x1}.{self.y1}.{self.x2}.{self.y2}"

    def covers(self, other: Rectangle) -> bool:
        """Say whether every cell of ``other`` lies in this rectangle; an inverted one has none to cover."""
        rows = self.x1 <= other.x1 <= other.x2 <= self.x2
        return rows and self.y1 <= other.y1 <= other.y2 <= self.y2


@dataclass(frozen=True, slots=True)
class Selection:
    """A union of rectangles in canonical form: sorted, none within another.

    Two chains that differ in order, repetition or swallowed rectangles are one selection, so they name
    the same bytes.
    """

    rectangles: tuple[Rectangle, ...]

    @classmethod
    def of(cls, *rectangles: Rectangle) -> Selection:
        """Return the canonical union of ``rectangles`` (at least one)."""
        if not rectangles:
            raise PartitionError("a selection needs at least one rectangle")
        unique = set(rectangles)
        kept = (one for one in unique if not any(o != one and o.covers(one) for o in unique))
        return cls(tuple(sorted(kept)))

    @classmethod
    def parse(cls, text: str) -> Selection:
        """Return the selection written ``x1.y1.x2.y2`` or chained with ``--``.

        Raises:
            PartitionError: the text has another form.
        """
        if not _SELECTION.fullmatch(text):
            raise PartitionError(f"{text[:140]!r} is no selection; expected x1.y1.x2.y2, chained with --")
        return cls.of(*(Rectangle.parse(part) for part in text.split("--")))

    def __str__(self) -> str:
        return "--".join(str(rectangle) for rectangle in self.rectangles)


@dataclass(frozen=True, slots=True)
class PartitionTag:
    """One reading of a tag: the tag of the source image, and the chain behind it as it was written."""

    base: str
    chain: tuple[str, ...]

    def selection(self) -> Selection:
        """Return what the chain selects. Inverted rectangles are kept: only a field makes them a mistake."""
        return Selection.of(*(Rectangle.parse(link) for link in self.chain))

    def __str__(self) -> str:
        return "--".join((self.base, *self.chain))


def readings(tag: str) -> tuple[PartitionTag, ...]:
    """Return every way to read ``tag`` as a partition, longest chain first; empty when there is none.

    Raises:
        PartitionError: the tag has the shape of a partition and more than 128 characters.
    """
    match = _PARTITION_TAG.fullmatch(tag) if len(tag) <= _LONGEST_READ else None
    if match is None:
        return ()
    if len(tag) > MAX_TAG_LENGTH:
        raise PartitionError(
            f"the partition tag has {len(tag)} characters; a tag has at most {MAX_TAG_LENGTH}: "
            f"join rectangles, or give the image a shorter tag"
        )
    base, links = match["base"], _ONE_LINK.findall(match["chain"])
    found = []
    for taken in range(len(links)):
        longer_base = base + "".join(links[:taken])
        if "+" in longer_base:  # no registry can hold such a tag
            break
        chain = tuple(link.lstrip("-+") for link in links[taken:])
        found.append(PartitionTag(longer_base, chain))
    return tuple(found)
