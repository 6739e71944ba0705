"""Messages between the proxy and a process that cuts: frames of a head in JSON and some bodies."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import orjson

LENGTH_BYTES: Final = 8


@dataclass(frozen=True, slots=True)
class Frame:
    """A message: ``head`` is its JSON, ``bodies`` are the documents that belong to it."""

    head: dict[str, Any]
    bodies: Sequence[bytes] = field(default=(), repr=False)

    def parts(self) -> Iterator[bytes]:
        """Yield the frame as it is sent."""
        head = orjson.dumps({**self.head, "bodies": [len(body) for body in self.bodies]})
        yield len(head).to_bytes(LENGTH_BYTES, "big") + head
        yield from self.bodies


def length_of(prefix: bytes) -> int:
    """Return how long the head is that follows ``prefix``."""
    return int.from_bytes(prefix, "big")
