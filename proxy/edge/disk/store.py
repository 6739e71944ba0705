"""All of an edge directory, opened together; each worker opens it for itself."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Final

from proxy.config.edge import EdgeConfig
from proxy.edge.disk.blobs import BLOB_TABLES, Blobs
from proxy.edge.disk.directory import EdgeDirectory, EdgeError
from proxy.edge.disk.pins import NAMES_TABLES, PIN_TABLES, Pins
from proxy.edge.disk.space import SPACE_TABLES, Space
from proxy.edge.disk.state import State

_TABLES: Final = (*BLOB_TABLES, *NAMES_TABLES, *PIN_TABLES, *SPACE_TABLES)
_WRITTEN_EVERY: Final = 3.0
"""Seconds between two times that uses of content are written down."""


@dataclass(frozen=True, slots=True)
class EdgeStore:
    """The directory's parts."""

    directory: EdgeDirectory
    state: State
    blobs: Blobs
    pins: Pins
    space: Space

    @classmethod
    @contextlib.asynccontextmanager
    async def open(cls, config: EdgeConfig) -> AsyncIterator[EdgeStore]:
        """Open ``config.directory`` for the time of the context.

        Raises:
            EdgeError: it cannot be used.
        """
        if config.directory is None:
            raise EdgeError("edge.directory is not set")
        directory = EdgeDirectory.open(config.directory)
        async with contextlib.AsyncExitStack() as stack:
            try:
                state = await stack.enter_async_context(State.open(directory.state, _TABLES))
            except (sqlite3.Error, OSError) as error:
                raise EdgeError(f"{directory.state} cannot be used: {error}") from None
            blobs = Blobs(directory, state)
            store = cls(directory, state, blobs, Pins(state), Space(config, directory, state, blobs))
            tasks = await stack.enter_async_context(asyncio.TaskGroup())
            writing = tasks.create_task(store._write_uses())
            try:
                yield store
            finally:
                writing.cancel()
                await blobs.write_uses()

    async def _write_uses(self) -> None:
        while True:
            await asyncio.sleep(_WRITTEN_EVERY)
            await self.blobs.write_uses()
