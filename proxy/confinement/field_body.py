"""A field on its way in: small ones are parsed here, step by step; large ones in a process of their own.

Measured with cells of 240 bytes: 11 ms for 10,000 cells, in steps of 0.2 ms, and one second for a million. As
orjson holds the interpreter from the first byte to the last (1.8 s for a million cells), a thread is no help.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import tempfile
import time
from types import TracebackType
from typing import IO, Any, Final, Self

import orjson

from proxy.confinement import field_worker
from proxy.confinement.apart import CostlyError, explain, started
from twodfs.errors import DigestError, FormatError
from twodfs.field.field import Field
from twodfs.field.slices import LongStepError
from twodfs.oci.digest import Digest

MOST_HERE: Final = 4 * 2**20
"""Bytes of JSON that are parsed in this process: some 17,000 cells, and 20 ms."""
PARSE_SECONDS: Final = 120.0
# The memory of the worker: the document and the packed cells, and several times the document where its keys
# stand in an unusual order.
_MEMORY: Final = 768 * 2**20
_MEMORY_A_BYTE: Final = 8
_TURN_SECONDS: Final = 0.00025
"""Of parsing, after which others have their turn: a short row costs less than a turn of the loop."""
_AT_ONCE: Final = 256 * 1024
"""Bytes of JSON that are parsed here in one step; a longer run of them goes to the worker, too."""


class FieldBody:
    """Takes the bytes of a field, hashes them, and parses them when all are there."""

    def __init__(self, digest: Digest, one_large: asyncio.Lock) -> None:
        """``one_large`` is held for as long as a large field takes memory: they come one at a time."""
        self._digest = digest
        self._one_large = one_large
        self._hash = hashlib.new(digest.partition(":")[0])
        self._small = bytearray()
        self._large: IO[bytes] | None = None
        self._is_large = False
        self._size = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._large is not None:
            self._large.close()
        if self._is_large:
            self._one_large.release()

    async def take(self, chunk: bytes) -> None:
        """Take the next bytes; waits where another large field is being read."""
        self._hash.update(chunk)
        self._size += len(chunk)
        if self._large is None:
            self._small += chunk
            if len(self._small) <= MOST_HERE:
                return
            await self._move()
        else:
            self._large.write(chunk)

    async def parse(self) -> Field:
        """Return the field.

        Raises:
            DigestError: these are not the bytes that the digest names.
            FormatError: they are no field.
            EndedError: the process that parsed them was ended.
        """
        if self._hash.hexdigest() != self._digest.partition(":")[2]:
            raise DigestError(f"content of {self._size} bytes does not hash to {self._digest}")
        if self._large is not None:
            self._large.flush()
            return await _parse_elsewhere(self._large, self._size)
        try:
            return await _parse_here(bytes(self._small))
        except LongStepError:
            await self._move()
            return await self.parse()

    async def _move(self) -> None:
        """Put the bytes taken so far into a file, as the bytes of a large field are."""
        await self._one_large.acquire()
        self._is_large = True
        self._large = _nameless()
        taken, self._small = bytes(self._small), bytearray()
        self._large.write(taken)


async def _parse_here(body: bytes) -> Field:
    steps = Field.parse_in_steps(body, at_once=_AT_ONCE)
    turn_ends = time.perf_counter() + _TURN_SECONDS
    while True:
        try:
            next(steps)
        except StopIteration as done:
            field: Field = done.value
            return field
        if time.perf_counter() > turn_ends:
            await asyncio.sleep(0)
            turn_ends = time.perf_counter() + _TURN_SECONDS


async def _parse_elsewhere(body: IO[bytes], size: int) -> Field:
    memory = _MEMORY + _MEMORY_A_BYTE * size
    with _nameless() as packed:
        descriptors = body.fileno(), packed.fileno()
        async with started(field_worker.__name__, (*descriptors, memory), descriptors) as worker:
            try:
                async with asyncio.timeout(PARSE_SECONDS):
                    output, _ = await worker.communicate()
            except TimeoutError:
                raise CostlyError(f"a field that takes longer than {PARSE_SECONDS:g} s to parse") from None
        if worker.returncode == field_worker.MALFORMED:
            raise FormatError(*orjson.loads(output))
        if worker.returncode:
            raise explain(worker.returncode, "a field", memory)
        return await asyncio.to_thread(_unpack, packed)


def _unpack(packed: IO[bytes]) -> Field:
    packed.seek(0)
    return Field.unpack(packed.read())


def _nameless() -> IO[bytes]:
    """Return a file that no other process sees, where possible in memory: the root may be read-only."""
    create: Any = getattr(os, "memfd_create", None)
    return tempfile.TemporaryFile() if create is None else os.fdopen(create("twodfs-field"), "w+b")
