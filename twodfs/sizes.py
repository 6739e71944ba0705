"""Numbers of bytes as people write and read them. Pure."""

from __future__ import annotations

import re
from typing import Final

from twodfs.errors import BuildFileError

_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([kmgtp]?)(i?)b?", re.IGNORECASE)
_POWERS: Final = {"": 0, "k": 1, "m": 2, "g": 3, "t": 4, "p": 5}

_UNITS: Final = ("B", "kB", "MB", "GB", "TB", "PB")

UNKNOWN: Final = "?"


def parse_size(text: str) -> int:
    """Return the bytes that ``text`` says: ``500MB`` are 500 million, ``1.5GiB`` are 1.5 times 2^30.

    Raises:
        BuildFileError: it is no size.
    """
    found = _SIZE.fullmatch(text.strip())
    if found is None:
        raise BuildFileError(f"{text[:140]!r} is no size; expected a number and a unit, as 10GB")
    number, unit, binary = found.groups()
    return int(float(number) * (1024 if binary else 1000) ** _POWERS[unit.lower()])


def size_text(size: int | None) -> str:
    """Return ``size`` (bytes) in three digits and a decimal unit, as ``1.25 GB``."""
    if size is None:
        return UNKNOWN
    amount, unit = float(size), 0
    while amount >= 999.5 and unit < len(_UNITS) - 1:  # noqa: PLR2004 - where three digits round up
        amount, unit = amount / 1000, unit + 1
    return f"{size} B" if unit == 0 else f"{amount:.3g} {_UNITS[unit]}"
