"""The rest of a blob, passed on to one reader where the disk takes no more of it.

What reaches a client as the end of a blob has its digest here, too: the hash goes on from the bytes in the file.
"""

from __future__ import annotations

import functools
import hashlib
import os
from dataclasses import dataclass

import aiohttp
from aiohttp import web

from proxy.bodies.idle_timeout import IdleTimeout
from proxy.bodies.threads import Threads
from proxy.edge.filling.growth import HELD_BACK, Growth, Hash, hash_file
from proxy.edge.filling.source import Arrival, BlobSource, ChangedError, PausedError
from proxy.metrics.catalogue import EDGE_FILLED, EDGE_SERVED_FILLING
from proxy.upstream.replies import RefusedError, UpstreamError
from proxy.wire.responses import OutgoingResponse, count_sent
from twodfs.oci.digest import Digest


@dataclass(frozen=True, slots=True)
class Passage:
    """A way from the registry to a reader."""

    digest: Digest
    source: BlobSource
    threads: Threads

    async def send(
        self,
        growth: Growth,
        rest: range,
        response: OutgoingResponse,
        http: web.BaseRequest,
        idle_timeout: IdleTimeout,
    ) -> None:
        """Send ``rest``, which begins where the reader is; the file's part of it is at the end, and was held back.

        Raises:
            aiohttp.ClientError: the registry does not give it, or other bytes.
            OSError: the client is gone.
        """
        client = _Client(response, http, idle_timeout)
        idle_timeout.for_upstream()
        try:
            if rest.stop < growth.size or rest.start > growth.available:
                await self._part(growth, rest, client)  # no client takes it for the whole
            else:
                await self._end(growth, rest.start, client)
        except (RefusedError, UpstreamError, PausedError, ChangedError) as error:
            raise aiohttp.ClientPayloadError(str(error)) from None

    async def _part(self, growth: Growth, rest: range, client: _Client) -> None:
        async with self.source.open(rest.start, growth.size) as arrival:
            at = arrival.first
            while at < rest.stop:
                chunk = await client.next_of(arrival)
                await client.send(chunk[max(rest.start - at, 0) : rest.stop - at])
                at += len(chunk)

    async def _end(self, growth: Growth, start: int, client: _Client) -> None:
        at = growth.available
        state: Hash = growth.hash.copy() if growth.hash is not None else await self._hashed(growth.descriptor, at)
        held = bytearray()
        while start + len(held) < at:
            piece = os.pread(growth.descriptor, at - start - len(held), start + len(held))
            if not piece:
                raise aiohttp.ClientPayloadError("the file on its way is shorter than it was")
            held += piece
        if at < growth.size:
            async with self.source.open(at, growth.size) as arrival:
                at = await self._compared(arrival, at, state, held, client)
                while at < growth.size:
                    chunk = await client.next_of(arrival)
                    at += len(chunk)
                    _take(chunk, state, held)
                    await client.send(_released(held))
        if at != growth.size or f"sha256:{state.hexdigest()}" != self.digest:
            raise aiohttp.ClientPayloadError("what the registry gave has another digest")
        await client.send(bytes(held))

    async def _compared(self, arrival: Arrival, at: int, state: Hash, held: bytearray, client: _Client) -> int:
        """Skip what comes again before the byte ``at``, where it is the same; return how far the blob has come."""
        if arrival.first or not at:
            return at
        again, passed = hashlib.sha256(), 0
        while passed < at:
            chunk = await client.next_of(arrival)
            again.update(chunk[: at - passed])
            new = chunk[at - passed :]
            passed += len(chunk)
        if again.digest() != state.digest():
            raise ChangedError("the blob has another content than before")
        _take(new, state, held)
        return passed

    async def _hashed(self, descriptor: int, stop: int) -> Hash:
        state, threads = hashlib.sha256(), self.threads

        def hash_from(at: int) -> int:
            return hash_file(descriptor, range(at, stop), state, threads.buffer())

        at = 0
        while at < stop:
            at = await threads.run(functools.partial(hash_from, at))
        return state


def _take(chunk: bytes, state: Hash, held: bytearray) -> None:
    state.update(chunk)
    held += chunk


def _released(held: bytearray) -> bytes:
    """Take out what may leave before the digest is known."""
    released = bytes(held[: max(len(held) - HELD_BACK, 0)])
    del held[: len(released)]
    return released


@dataclass(frozen=True, slots=True)
class _Client:
    response: OutgoingResponse
    http: web.BaseRequest
    idle_timeout: IdleTimeout

    async def next_of(self, arrival: Arrival) -> bytes:
        """Return the next bytes of the registry's; there must be some."""
        self.idle_timeout.for_upstream()
        chunk = await arrival.answer.content.readany()
        if not chunk:
            raise aiohttp.ClientPayloadError("the registry's answer ended early")
        EDGE_FILLED.add(len(chunk))
        return chunk

    async def send(self, chunk: bytes) -> None:
        if not chunk:
            return
        self.idle_timeout.for_client()
        await self.response.send(chunk)
        await self.response.flush()
        count_sent(self.http, len(chunk))
        EDGE_SERVED_FILLING.add(len(chunk))
