"""A blob that readers of this process wait for, whoever fetches it."""

from __future__ import annotations

import asyncio

from proxy.auth.identity import Identity
from proxy.edge.filling.growth import Growth
from proxy.edge.filling.source import BlobSource
from proxy.edge.pace import Pace
from proxy.repository import Repository
from twodfs.oci.digest import Digest


class Flight:
    """The readers of one blob, and the file that they are given.

    Attributes:
        digest: of the blob.
        source: where it comes from.
        size: of the blob, where a reader knows it.
        growth: the file; None: there is none yet. After a fresh start it is another one.
        readers: how many wait for the blob or read it.
        task: does the work.
        is_filling: whether the work is done here: another process needs no readers of this one.
    """

    def __init__(self, digest: Digest, source: BlobSource, size: int | None) -> None:
        """Nobody reads it yet."""
        self.digest = digest
        self.source = source
        self.size = size
        self.growth: Growth | None = None
        self.readers = 0
        self.task: asyncio.Task[None] | None = None
        self.is_filling = False
        self._pace: Pace | None = None
        self._lifted = asyncio.Event()
        self._waiting: list[asyncio.Future[Growth | None]] = []

    def add(self, repository: Repository | None, identity: Identity | None, pace: Pace | None) -> None:
        """Take a reader in; one without ``pace`` is not to wait for those who have one."""
        self.readers += 1
        if repository is not None and identity is not None:
            self.source.add(repository, identity)
        if pace is None:
            self._lifted.set()
        self._pace = None if self._lifted.is_set() else pace

    async def paced(self, size: int) -> None:
        """Wait until more may come behind these ``size`` bytes."""
        if self._pace is not None:
            await self._pace.take(size, self._lifted)

    def start(self, growth: Growth) -> None:
        """Give readers this file; each of them uses it from now on."""
        self.growth = growth
        for reader in self._awaited():
            growth.use()
            reader.set_result(growth)

    def pass_on(self) -> None:
        """Tell those who wait that the blob can only be passed on."""
        for reader in self._awaited():
            reader.set_result(None)

    def fail(self, error: Exception) -> None:
        """Tell those who wait why there is no file."""
        for reader in self._awaited():
            reader.set_exception(error)

    def _awaited(self) -> list[asyncio.Future[Growth | None]]:
        waiting, self._waiting = self._waiting, []
        return [reader for reader in waiting if not reader.done()]

    async def given(self) -> Growth | None:
        """Return the file, once there is one, used by the caller; None where the blob can only be passed on.

        Raises:
            Exception: as given to ``fail``.
        """
        if self.growth is not None:
            self.growth.use()
            return self.growth
        reader: asyncio.Future[Growth | None] = asyncio.get_running_loop().create_future()
        self._waiting.append(reader)
        try:
            return await reader
        except asyncio.CancelledError:
            if reader.done() and not reader.cancelled() and reader.exception() is None:
                growth = reader.result()  # it came in the very turn in which its reader left
                if growth is not None:
                    growth.leave()
            raise
