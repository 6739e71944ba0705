"""A file's bytes, whole or growing, as the body of an answer."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from aiohttp import web

from proxy.bodies.file_handoff import FileOutlet, file_outlet
from proxy.bodies.idle_timeout import IdleTimeout
from proxy.edge.disk.blobs import StoredBlob
from proxy.edge.filling.growth import Fate, Growth
from proxy.edge.filling.passage import Passage
from proxy.metrics.catalogue import EDGE_SERVED_DISK, EDGE_SERVED_FILLING
from proxy.wire.responses import OutgoingResponse
from twodfs.oci.digest import Digest


@dataclass(frozen=True, slots=True)
class StoredBody:
    """A part of a whole blob."""

    blob: StoredBlob
    wanted: range
    borrows: bool

    async def send(self, response: OutgoingResponse, http: web.BaseRequest, idle_timeout: IdleTimeout) -> None:
        """Send it; nothing where there is to be no body.

        Raises:
            OSError: the client is gone.
        """
        if response.is_without_body or not self.wanted:
            return
        async with file_outlet(response, http, idle_timeout, borrows=self.borrows) as outlet:
            await outlet.send(self.blob.descriptor, self.wanted)
        EDGE_SERVED_DISK.add(len(self.wanted))

    async def close(self) -> None:
        """Close the file."""
        self.blob.close()


def whole_body(blob: StoredBlob, wanted: range, *, borrows: bool = True) -> StoredBody:
    """Return the bytes ``wanted`` of ``blob``, which is closed with it.

    ``borrows``: whether sockets can be borrowed here.
    """
    return StoredBody(blob, wanted, borrows)


@dataclass(frozen=True, slots=True)
class GrowingBody:
    """A part of a blob that is on its way.

    Attributes:
        growth: the file.
        wanted: the bytes of it.
        passage: goes on where the file does not; None: nobody can.
        leave: is called at the end.
        borrows: whether sockets can be borrowed here.
    """

    growth: Growth
    wanted: range
    passage: Passage
    leave: Callable[[], None]
    borrows: bool

    async def send(self, response: OutgoingResponse, http: web.BaseRequest, idle_timeout: IdleTimeout) -> None:
        """Send it as it comes; nothing where there is to be no body.

        Raises:
            aiohttp.ClientPayloadError: the rest does not come, or is not what it should be.
            OSError: the client is gone.
        """
        if response.is_without_body or not self.wanted:
            return
        async with file_outlet(response, http, idle_timeout, borrows=self.borrows) as outlet:
            at = await self._send_file(outlet, idle_timeout)
        if at < self.wanted.stop:
            await self.passage.send(self.growth, range(at, self.wanted.stop), response, http, idle_timeout)
        idle_timeout.for_client()

    async def _send_file(self, outlet: FileOutlet, idle_timeout: IdleTimeout) -> int:
        """Send from the file as far as it goes; return where that is."""
        growth, at, stop = self.growth, self.wanted.start, self.wanted.stop
        while at < stop:
            growth.check()
            limit = min(growth.released, stop)
            if limit > at:
                await outlet.send(growth.descriptor, range(at, limit))
                EDGE_SERVED_FILLING.add(limit - at)
                at = limit
            elif growth.fate is Fate.LEFT:
                break
            else:
                idle_timeout.for_upstream()
                await growth.changed()
        return at

    async def close(self) -> None:
        """Leave the file to others."""
        self.leave()


@dataclass(frozen=True, slots=True)
class GrowingBlob:
    """A blob that is on its way, or has just come, opened for one reader.

    It is to be closed, or given away as a body, which closes it.

    Attributes:
        digest: of the blob.
        size: bytes of all of it.
        is_joined: whether the registry was not asked with this reader's credentials.
        is_named: whether its yes to them named the blob; else it may be that of a portal, until the blob is whole.
    """

    digest: Digest
    size: int
    is_joined: bool
    is_named: bool
    _growth: Growth
    _passage: Passage
    _leave: Callable[[], None]
    _borrows: bool

    def body(self, wanted: range) -> GrowingBody:
        """Return the bytes ``wanted``, sent as they come; this blob is closed with it."""
        return GrowingBody(self._growth, wanted, self._passage, self._leave, self._borrows)

    @property
    def arrived(self) -> int:
        """How many of its bytes are here."""
        return self._growth.available

    @property
    def descriptor(self) -> int:
        """The file, open as long as this blob is; among the content only some time after all of it is here."""
        return self._growth.descriptor

    @property
    def is_whole(self) -> bool:
        """Whether all of it is here, and right."""
        return self._growth.fate is Fate.WHOLE

    async def finished(self) -> bool:
        """Wait until all of it is here, or no more comes; say whether it is whole, and right."""
        while self._growth.fate is Fate.GROWING:
            await self._growth.changed()
        return self._growth.fate is Fate.WHOLE

    def close(self) -> None:
        """Leave the blob to others."""
        self._leave()
