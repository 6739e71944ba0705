"""Parse one field and end: ``python -m proxy.confinement.field_worker BODY_FD PACKED_FD MEMORY``.

A parser in the proxy's own process would hold the interpreter for as long as it runs; this one has an
interpreter of its own, and frees its memory by ending. It writes ``Field.packed``
to the second descriptor, or the fault of the field and its place to standard output, as JSON.
"""

from __future__ import annotations

import mmap
import sys
from typing import Final

import orjson

from proxy.confinement.confined import OUT_OF_MEMORY, confine
from twodfs.errors import FormatError
from twodfs.field.field import Field

MALFORMED: Final = 3


def main() -> int:
    """Parse the field that the arguments name; returns the exit status."""
    body_fd, packed_fd, memory = map(int, sys.argv[1:])
    confine(memory)
    try:
        packed = Field.parse(mmap.mmap(body_fd, 0, access=mmap.ACCESS_READ)).packed
    except FormatError as error:
        sys.stdout.buffer.write(orjson.dumps([error.problem, error.path]))
        return MALFORMED
    except MemoryError:
        return OUT_OF_MEMORY
    with open(packed_fd, "wb", closefd=False) as file:
        file.write(packed)
    return 0


if __name__ == "__main__":
    sys.exit(main())
