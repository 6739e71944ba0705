"""A field's JSON in slices, so that a large one is read in bounded memory and in steps of bounded length.

The cells of a field are read some hundred at a time: ``orjson`` is given a stretch of an ``allotments``
array that ends behind a ``}``, in brackets of its own. A stretch that parses like that holds whole values
only: a cut in the middle of a string or an object leaves something open. A field not written in the usual
order of keys is read as a whole, which takes several times its size in memory.
"""

from __future__ import annotations

import mmap
import re
from collections.abc import Callable, Generator, Iterator
from typing import Any, Final, NamedTuple, TypeAlias

from twodfs.errors import FormatError, within
from twodfs.oci.documents import Json, expect, parse_json
from twodfs.oci.spelling import Keys

FieldBytes: TypeAlias = "bytes | mmap.mmap"

SLICE_BYTES: Final = 64 * 1024
"""About half a millisecond of work."""
_CELLS_AT_ONCE: Final = 512
_ROW_KEYS: Final = Keys("allotments", "allotments_size")

_ROWS: Final = re.compile(rb'\s*\{\s*"rows"\s*:\s*\[\s*')
_ROW: Final = re.compile(rb'\{\s*"allotments"\s*:\s*(?:\[\s*|null)')
_ROW_END: Final = re.compile(rb'\s*,\s*"allotments_size"\s*:\s*[0-9]{1,19}\s*\}\s*')
_BETWEEN_CELLS: Final = re.compile(rb"\s*,")
_BETWEEN_ROWS: Final = re.compile(rb",\s*(?=\{)")


class Slice(NamedTuple):
    """Some neighbouring cells of one row, unchecked, and where they were found."""

    row_at: int
    cell_at: int
    cells: list[Any]

    def path(self, at: int) -> str:
        """Return the path of the cell ``at`` this place of the slice."""
        return f"rows[{self.row_at}].allotments[{self.cell_at + at}]"


class LongStepError(ValueError):
    """More of the field would be parsed at once than was asked for."""


class OtherOrderError(ValueError):
    """The field is not written in the usual order; or it is malformed, and the whole document tells how."""


class Slices:
    """Iterates over the slices of a field; ``rest`` is the other members, known when the last was taken.

    Raises ``OtherOrderError`` on the way where the document has to be read as a whole, and ``LongStepError``
    where the other members have more than ``at_once`` bytes.
    """

    def __init__(self, body: FieldBytes, at_once: int | None = None) -> None:
        self._body = body
        self._at_once = at_once
        self.rest: Json = {}

    def __iter__(self) -> Iterator[Slice]:
        body = self._body
        at = _end(_ROWS.match, body, 0)
        row_at = 0
        while body[at : at + 1] != b"]":
            opened = _ROW.match(body, at)
            if opened is None:
                raise OtherOrderError
            at = opened.end()
            if not opened[0].endswith(b"null"):
                at = yield from self._row(at, row_at)
            at = _end(_ROW_END.match, body, at)
            row_at += 1
            if body[at : at + 1] != b"]":
                at = _end(_BETWEEN_ROWS.match, body, at)
        if self._at_once is not None and len(body) - at > self._at_once:
            raise LongStepError
        self.rest = _loads(b'{"":[' + body[at:])
        if "rows" in self.rest:  # written twice, and the last one counts
            raise OtherOrderError

    def _row(self, at: int, row_at: int) -> Generator[Slice, None, int]:
        """Yield the cells from ``at`` to the end of their array, and return where it has ended."""
        body = self._body
        cell_at = 0
        closing = -1
        while True:
            if closing < at:
                closing = body.find(b"]", at)
            until = closing
            if closing < 0 or closing - at > SLICE_BYTES:
                until = body.find(b"}", at + SLICE_BYTES - 1024, at + SLICE_BYTES) + 1
            if until <= 0:
                raise OtherOrderError
            cells = _loads(b"[" + body[at:until] + b"]")
            if cell_at and not cells:  # nothing may follow the last comma
                raise OtherOrderError
            yield Slice(row_at, cell_at, cells)
            cell_at += len(cells)
            if until == closing:
                return closing + 1
            comma = _BETWEEN_CELLS.match(body, until)
            if comma is None:  # the array ends here, or something stands where a comma should
                closing = body.find(b"]", until)
                if closing < 0 or body[until:closing].strip():
                    raise OtherOrderError
                return closing + 1
            at = comma.end()


def in_whole(raw: Json) -> Iterator[Slice]:
    """Yield the slices of a field that was parsed as a whole.

    Raises:
        FormatError: malformed; with the path.
    """
    for row_at, row in enumerate(_array(raw, "rows", "rows")):
        members = expect(row, dict, f"rows[{row_at}]")
        with within(f"rows[{row_at}]"):
            _ROW_KEYS.check(members)
        cells = _array(members, "allotments", f"rows[{row_at}].allotments")
        for cell_at in range(0, len(cells), _CELLS_AT_ONCE):
            yield Slice(row_at, cell_at, cells[cell_at : cell_at + _CELLS_AT_ONCE])


def _array(members: Json, key: str, path: str) -> list[Any]:
    value = members.get(key)
    return [] if value is None else expect(value, list, path)


def _end(match_at: Callable[[FieldBytes, int], re.Match[bytes] | None], body: FieldBytes, at: int) -> int:
    found = match_at(body, at)
    if found is None:
        raise OtherOrderError
    return found.end()


def _loads(text: bytes) -> Any:
    try:
        return parse_json(text)
    except FormatError:
        raise OtherOrderError from None
