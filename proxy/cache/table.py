"""Lists for people: columns of text, ages and sizes."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from typing import Final

from pydantic import TypeAdapter, ValidationError

from proxy.config.values import Duration
from twodfs.errors import UsageError
from twodfs.oci.digest import Digest

_UNITS: Final = ((86_400, "d"), (3600, "h"), (60, "min"), (1, "s"))
_SHORT_DIGEST: Final = 19
_DURATION: Final = TypeAdapter(Duration)


def columns(header: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """Return lines in which the cells of each column stand below each other; the last column is as long as it is."""
    lines = [tuple(header), *map(tuple, rows)]
    widths = [max(len(line[at]) for line in lines) for at in range(len(header) - 1)]
    return [
        "  ".join((*(cell.ljust(width) for cell, width in zip(line, widths, strict=False)), line[-1])).rstrip()
        for line in lines
    ]


def age_text(moment: float, now: float | None = None) -> str:
    """Return how long ago ``moment`` (seconds since 1970) was, in one unit, as ``3 h``."""
    seconds = max(0.0, (time.time() if now is None else now) - moment)
    length, unit = next((one for one in _UNITS if seconds >= one[0]), _UNITS[-1])
    return f"{seconds // length:.0f} {unit}"


def short(digest: Digest) -> str:
    """Return the beginning of a digest, which tells content apart."""
    return digest[:_SHORT_DIGEST]


def parse_age(text: str, option: str) -> float:
    """Return the seconds that ``text`` says, as ``7d``; raises ``UsageError``."""
    try:
        return _DURATION.validate_python(text)
    except ValidationError:
        raise UsageError(f"{option} is {text!r}; expected seconds, or a time as 90min, 12h or 7d") from None
