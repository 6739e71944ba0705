"""All of an edge directory, opened together; each worker opens it for itself."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sqlite3
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Final

from proxy.config.edge import EdgeConfig
from proxy.edge.disk.blobs import BLOB_TABLES, Blobs
from proxy.edge.disk.directory import EdgeDirectory, EdgeError
from proxy.edge.disk.keeper import Keeper
from proxy.edge.disk.listing import LISTING_TABLES, ImageList
from proxy.edge.disk.pins import NAMES_TABLES, PIN_TABLES, Pins
from proxy.edge.disk.records import RECORD_TABLES, DiskRecords
from proxy.edge.disk.space import SPACE_TABLES, Space, make_room_to_start
from proxy.edge.disk.state import State
from proxy.metrics.catalogue import EDGE_BLOBS, EDGE_BYTES, EDGE_FREE_BYTES

_TABLES: Final = (*BLOB_TABLES, *NAMES_TABLES, *PIN_TABLES, *SPACE_TABLES, *RECORD_TABLES, *LISTING_TABLES)
_WRITTEN_EVERY: Final = 3.0
"""Seconds between two times that uses of content are written down."""
_RECORDS_SHARE: Final = 20
_LEAST_RECORDS: Final = 4 * 2**20
_MOST_RECORDS: Final = 256 * 2**20
"""Bytes of records: a twentieth of the content that there may be, within these."""


@dataclass(frozen=True, slots=True)
class EdgeStore:
    """The directory's parts."""

    directory: EdgeDirectory
    state: State
    blobs: Blobs
    pins: Pins
    space: Space
    records: DiskRecords
    listing: ImageList

    @classmethod
    @contextlib.asynccontextmanager
    async def open(cls, config: EdgeConfig) -> AsyncIterator[EdgeStore]:
        """Open ``config.directory`` for the time of the context; one of the processes that do is its keeper.

        Raises:
            EdgeError: it cannot be used.
        """
        if config.directory is None:
            raise EdgeError("edge.directory is not set")
        directory = await asyncio.to_thread(EdgeDirectory.open, config.directory)
        async with contextlib.AsyncExitStack() as stack:
            try:
                await asyncio.to_thread(make_room_to_start, directory)
                state = await stack.enter_async_context(State.open(directory.state, _TABLES))
                secret, most_records = await asyncio.to_thread(_private, directory, config)
            except (sqlite3.Error, OSError) as error:
                raise EdgeError(f"edge.directory {directory.root} cannot be used: {error}") from None
            blobs = Blobs(directory, state)
            space = Space(config, directory, state, blobs)
            records = DiskRecords(state, blobs, secret, most_bytes=most_records)
            store = cls(directory, state, blobs, Pins(state), space, records, ImageList(directory, state, blobs))
            stack.enter_context(EDGE_BYTES.read_from(lambda: space.measured.content))
            stack.enter_context(EDGE_BLOBS.read_from(lambda: space.measured.blobs))
            stack.enter_context(EDGE_FREE_BYTES.read_from(lambda: space.measured.free))
            keeper = Keeper(directory, state, blobs, space, store.listing)
            tasks = await stack.enter_async_context(asyncio.TaskGroup())
            running = [tasks.create_task(work) for work in (store._tell(), store.listing.keep_written(), keeper.keep())]
            try:
                yield store
            finally:
                for task in running:
                    task.cancel()
                await store.write_uses()

    async def write_uses(self) -> None:
        """Write down what was used and released since the last time; else it happens every few seconds."""
        await self.blobs.write_uses()
        await self.records.write_uses()
        await self.space.write_releases()

    async def _tell(self) -> None:
        """Let the other processes and the metrics know, every few seconds."""
        while True:
            await self.space.measure()
            await asyncio.sleep(_WRITTEN_EVERY)
            await self.write_uses()


def _private(directory: EdgeDirectory, config: EdgeConfig) -> tuple[bytes, int]:
    """Return the directory's secret, and most bytes of records."""
    disk = os.statvfs(directory.root)
    share = (config.max_size or disk.f_blocks * disk.f_frsize) // _RECORDS_SHARE
    return directory.secret(), min(max(share, _LEAST_RECORDS), _MOST_RECORDS)
