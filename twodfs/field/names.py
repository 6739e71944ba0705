"""Named partitions of a field or a build file."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from twodfs.errors import FormatError, PartitionError, within
from twodfs.field.partition import RESERVED, Selection, is_name
from twodfs.oci.documents import expect

MAX_NAMED_RECTANGLES: Final = 256
"""Rectangles behind one name: an image has room for fewer layers."""
MAX_RECTANGLES: Final = 16_384
"""Rectangles behind all names of a field together."""


def parse_partitions(raw: object) -> dict[str, Selection]:
    """Return the named partitions in ``raw``: a field's, or those of a build file; None for none at all.

    Raises:
        FormatError: a name breaks the grammar or is reserved, or names no rectangles; with the path.
    """
    return dict(named_in_steps(raw))


def named_in_steps(raw: object) -> Iterator[tuple[str, Selection]]:
    """Yield names and their selections; each takes some milliseconds at most."""
    named = {} if raw is None else expect(raw, dict, "partitions")
    with within("partitions"):
        if sum(text.count("--") + 1 for text in named.values() if isinstance(text, str)) > MAX_RECTANGLES:
            raise FormatError(f"the names stand for more than {MAX_RECTANGLES} rectangles")
        for name, text in named.items():
            yield _free_name(name), _rectangles(text, name)


def _free_name(name: str) -> str:
    if name in RESERVED:
        raise FormatError(f"{name!r} is reserved: 'all' is every allotment, 'base' is none", name)
    if not is_name(name):
        raise FormatError(f"{name[:140]!r} is no name; expected a-z, then any of a-z 0-9 _ and single - between them")
    return name


def _rectangles(text: object, name: str) -> Selection:
    written = expect(text, str, name)
    if written.count("--") >= MAX_NAMED_RECTANGLES:
        raise FormatError(f"more than {MAX_NAMED_RECTANGLES} rectangles", name)
    try:
        selection = Selection.parse(written)
        for rectangle in selection.rectangles:
            rectangle.check()
    except PartitionError as error:
        raise FormatError(str(error), name) from None
    if selection.names or not selection.rectangles:
        raise FormatError(f"{text!r} is a name; expected rectangles x1.y1.x2.y2, chained with --", name)
    return selection
