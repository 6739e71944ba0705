"""Fields as the command line reads them: in bounded memory, whoever wrote them."""

from __future__ import annotations

from typing import Final

from twodfs.errors import TooLargeError
from twodfs.field.field import Field, LongStepError, finished

_AT_ONCE: Final = 2**20
_FEW_VALUES: Final = 1_000_000
_BYTES_A_VALUE: Final = 24
"""A cell has some 34 bytes for each of its values; a value takes a hundred or so once it is parsed."""


def read_field(body: bytes) -> Field:
    """Return the field in ``body``, which is packed as it is read.

    Raises:
        FormatError: malformed; with the path.
        TooLargeError: it has to be parsed as a whole, and would take many times its size of memory.
    """
    try:
        return finished(Field.parse_in_steps(body, at_once=_AT_ONCE))
    except LongStepError:
        most = max(_FEW_VALUES, len(body) // _BYTES_A_VALUE)
        if sum(map(body.count, (b",", b"[", b"{"))) > most:
            raise TooLargeError(
                f"the field has more than {most} values and is not written in the usual order of keys, "
                f"so that it cannot be read piece by piece"
            ) from None
    return Field.parse(body)
