"""The grammar of partition tags, and the selections they stand for.

::

    partition-tag  = base-tag 1*( separator link )           ; at most 128 characters in all
    base-tag       = [A-Za-z0-9_] *[A-Za-z0-9._-]            ; OCI distribution-spec, "Pulling manifests"
    separator      = "--" / "+"
    link           = rectangle / name
    rectangle      = x1 "." y1 "." x2 "." y2                 ; decimal, leading zeros allowed
                                                             ; x = row, y = column, both ends inclusive
    name           = "all" / "base" / own-name
    own-name       = [a-z] *[a-z0-9_] *( "-" 1*[a-z0-9_] )   ; a key of the field's ``partitions``

The paper writes ``+`` ("Beyond Layers", section 4.3), which lies outside the tag grammar, so Docker refuses
it before it sends anything; ``--`` is canonical. A chain is the union of its links.

A name begins with a letter and has no dot, a rectangle begins with a digit and has three: neither can be
mistaken for the other. ``all`` is every allotment, ``base`` none of them; both are reserved. What any other
name means is written in the field, so only a reader of the field can resolve it. Two names have a custom:
``default`` is the part that most devices want, and ``TAG--image`` alone, where no partition is called so, is
the 2DFS image itself, whatever a proxy gives for the plain tag.

A tag can be read in more than one way: ``v1--1.2.3.4--0.0.0.1`` is two rectangles of ``v1``, or one
rectangle of the tag ``v1--1.2.3.4``. ``readings`` lists all, longest chain first; which one holds is decided
by the tags that exist, and by the names that their fields define.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Final

from twodfs.errors import PartitionError
from twodfs.field.rectangle import Rectangle, outermost

__all__ = [
    "ALL",
    "BASE",
    "IMAGE",
    "MAX_TAG_LENGTH",
    "RESERVED",
    "PartitionTag",
    "Rectangle",
    "Selection",
    "is_name",
    "mistyped",
    "readings",
]

MAX_TAG_LENGTH = 128

ALL: Final = "all"
BASE: Final = "base"
RESERVED: Final = frozenset({ALL, BASE})
IMAGE: Final = "image"

_NUMBERS = r"[0-9]+\.[0-9]+\.[0-9]+\.[0-9]+"
_NAME = r"[a-z][a-z0-9_]*(?:-[a-z0-9_]+)*"
_LINK = rf"(?:--|\+)(?:{_NUMBERS}|{_NAME})"
_BASE_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]*")
_ONE_LINK = re.compile(_LINK)
_LAST_RECTANGLE = re.compile(rf".(?:--|\+){_NUMBERS}\Z")
_RECTANGLE = re.compile(_NUMBERS)
# Rectangles, also mistyped ones: numbers, of which there are too few or too many.
_MEANT = r"[0-9][0-9.]*"
_ONE_MEANT_LINK = re.compile(rf"(?:--|\+)(?:{_MEANT}|{_NAME})")
_ONE_NAME = re.compile(_NAME)

# As many as rectangles alone can give, the shortest being nine characters; each may cost a look-up.
_MOST_READINGS: Final = 14
_SHOWN: Final = 4
_MOST_MISTYPED: Final = 2
# Tags come again and again; each takes a kilobyte or so.
_REMEMBERED: Final = 4096


def is_name(text: str) -> bool:
    """Say whether ``text`` can name a partition; the reserved names can, too."""
    return _ONE_NAME.fullmatch(text) is not None


@dataclass(frozen=True, slots=True)
class Selection:
    """A union of rectangles, and of names not yet resolved, in canonical form: sorted, none within another.

    Two chains that differ in order, repetition or swallowed rectangles are one selection, so they name
    the same bytes. Without rectangles and names it is ``base``.
    """

    rectangles: tuple[Rectangle, ...]
    names: tuple[str, ...] = ()
    _hash: int = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        # Part of many keys, and some have hundreds of rectangles.
        object.__setattr__(self, "_hash", hash((self.rectangles, self.names)))

    def __hash__(self) -> int:
        return self._hash

    @classmethod
    def of(cls, *rectangles: Rectangle, names: Iterable[str] = ()) -> Selection:
        """Return the canonical union of ``rectangles`` and of those that ``names`` mean."""
        return cls(tuple(outermost(rectangles)), tuple(sorted(set(names) - {BASE})))

    @classmethod
    def parse(cls, text: str) -> Selection:
        """Return the selection written ``x1.y1.x2.y2`` or by name, chained with ``--``.

        Raises:
            PartitionError: the text has another form.
        """
        return cls.of_links(text.split("--"))

    @classmethod
    def of_links(cls, links: Iterable[str]) -> Selection:
        """Return the union of ``links``, each a rectangle or a name. Inverted rectangles are kept.

        Raises:
            PartitionError: a link is neither.
        """
        rectangles, names = [], []
        for link in links:
            if len(link) <= MAX_TAG_LENGTH and _RECTANGLE.fullmatch(link):
                rectangles.append(Rectangle.parse(link))
            elif is_name(link):
                names.append(link)
            else:
                raise PartitionError(f"{link[:140]!r} is no selection; expected x1.y1.x2.y2 or a name, chained with --")
        return cls.of(*rectangles, names=names)

    def __str__(self) -> str:
        return "--".join((*self.names, *map(str, self.rectangles))) or BASE

    @property
    def shown(self) -> str:
        """The selection for people to read: the first of its links, and how many there are besides."""
        links = (*self.names, *self.rectangles)
        if len(links) <= _MOST_READINGS:
            return str(self)
        return f"{'--'.join(map(str, links[:_SHOWN]))} and {len(links) - _SHOWN} more"


@dataclass(frozen=True, slots=True)
class PartitionTag:
    """One reading of a tag: the tag of the source image, and the chain behind it as it was written."""

    base: str
    chain: tuple[str, ...]

    def selection(self) -> Selection:
        """Return the selection of the chain. Inverted rectangles are kept: only a field makes them a mistake."""
        return _selection(self.chain)

    @property
    def is_of_image(self) -> bool:
        """Whether it is the image itself that is asked for, unless its field has a partition called so."""
        return self.chain == (IMAGE,)

    def __str__(self) -> str:
        return "--".join((self.base, *self.chain))


def readings(tag: str) -> tuple[PartitionTag, ...]:
    """Return the ways to read ``tag`` as a partition, longest chain first; empty when there is none.

    Raises:
        PartitionError: the tag ends in a rectangle and has more than 128 characters.
    """
    if len(tag) > MAX_TAG_LENGTH:
        if _LAST_RECTANGLE.search(tag):
            raise PartitionError(
                f"the partition tag has {len(tag)} characters; a tag has at most {MAX_TAG_LENGTH}: "
                f"join rectangles, name them in the field, or give the image a shorter tag"
            )
        return ()
    return _readings(tag)


def _split(tag: str, one_link: re.Pattern[str] = _ONE_LINK) -> tuple[str, list[str]]:
    """Return ``tag`` without the links that it ends in, and these; linear in its length."""
    links: list[str] = []
    begin = len(tag)
    for link in reversed(list(one_link.finditer(tag))):
        if link.end() != begin:
            break
        links.append(link[0])
        begin = link.start()
    return tag[:begin], links[::-1]


def mistyped(tag: str) -> tuple[tuple[str, str], ...]:
    """Return the ways to read ``tag`` as a partition with a mistyped rectangle: base tags, and the mistakes.

    As ``v1--0.0.1``: a rectangle has four numbers. At most two ways, the shortest base first; empty for every
    other tag.
    """
    if len(tag) > MAX_TAG_LENGTH:
        return ()
    base, links = _split(tag, _ONE_MEANT_LINK)
    if not (links and _BASE_TAG.fullmatch(base)):
        return ()
    found = []
    for taken in range(min(len(links), _MOST_MISTYPED)):
        longer_base = base + "".join(links[:taken])
        wrong = [one for link in links[taken:] if not _is_link(one := link.lstrip("-+"))]
        if wrong and "+" not in longer_base:
            found.append((longer_base, wrong[0]))
    return tuple(found)


def _is_link(text: str) -> bool:
    return _RECTANGLE.fullmatch(text) is not None or is_name(text)


@lru_cache(_REMEMBERED)
def _selection(chain: tuple[str, ...]) -> Selection:
    return Selection.of_links(chain)


@lru_cache(_REMEMBERED)
def _readings(tag: str) -> tuple[PartitionTag, ...]:
    base, links = _split(tag)
    if not links or not _BASE_TAG.fullmatch(base):
        return ()
    found = []
    for taken in range(min(len(links), _MOST_READINGS)):
        longer_base = base + "".join(links[:taken])
        if "+" in longer_base:  # no registry can hold such a tag
            break
        chain = tuple(link.lstrip("-+") for link in links[taken:])
        found.append(PartitionTag(longer_base, chain))
    return tuple(found)
