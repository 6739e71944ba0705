"""A blob that two registries have, where the one that is asked for it hangs: the other's readers do not wait."""

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest

from tests.lab.blob_wire import End
from tests.lab.fake_registry import until
from tests.lab.filling import Asked, Blob, Node, filling, holding

CONTENT = random.Random(14).randbytes(3 * 2**20)
PATIENCE = "0.5"


class Hanging(Blob):
    """A registry that gives a blob up to some byte, with or without a head, and then says nothing."""

    def __init__(self, stop: int | None) -> None:
        super().__init__(CONTENT, self._hang)
        self.stop = stop

    async def _hang(self, end: End, asked: Asked) -> None:
        if self.stop is not None:
            await self.give(end, asked.first, self.stop)
        await asyncio.Event().wait()


@contextlib.asynccontextmanager
async def nodes(directory: Path, *registries: Blob, count: int = 1) -> AsyncIterator[list[Node]]:
    """Run workers of one node in front of two registries."""
    async with contextlib.AsyncExitStack() as stack:
        default, hub = [await stack.enter_async_context(holding(one)) for one in registries]
        yield [
            await stack.enter_async_context(filling(directory, default.url, hub=hub.url, edge__offline_after=PATIENCE))
            for _ in range(count)
        ]


@pytest.fixture
async def client() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as session:
        yield session


async def read(client: aiohttp.ClientSession, node: Node, blob: Blob, registry: str = "") -> bytes:
    async with client.get(f"{node.url}/v2/{registry}lib/blob/blobs/{blob.digest}") as answer:
        assert answer.ok, answer.status
        return await answer.read()


@pytest.mark.parametrize("stop", [None, 0, 2**20])
async def test_readers_of_both_get_it_from_the_one_that_answers(
    tmp_path: Path, client: aiohttp.ClientSession, stop: int | None
) -> None:
    hanging, healthy = Hanging(stop), Blob(CONTENT)
    async with asyncio.timeout(30), nodes(tmp_path, hanging, healthy) as [node]:
        first = asyncio.ensure_future(read(client, node, hanging))
        await until(lambda: len(hanging.requests) == 1 and hanging.sent == (stop or 0))
        assert await read(client, node, healthy, "hub/") == CONTENT
        assert await first == CONTENT
        assert [one.first for one in healthy.requests] == [stop or 0]
        assert len(hanging.requests) == 1


@pytest.mark.parametrize("stop", [None, 2**20])
async def test_it_is_so_where_another_worker_asks_the_one_that_hangs(
    tmp_path: Path, client: aiohttp.ClientSession, stop: int | None
) -> None:
    hanging, healthy = Hanging(stop), Blob(CONTENT)
    async with asyncio.timeout(30), nodes(tmp_path, hanging, healthy, count=2) as [one, other]:
        first = asyncio.ensure_future(read(client, one, hanging))
        await until(lambda: len(hanging.requests) == 1 and hanging.sent == (stop or 0))
        if stop is None:  # nobody knows its length: the caller passes it on by itself
            async with client.get(f"{other.url}/v2/hub/lib/blob/blobs/{healthy.digest}") as answer:
                assert answer.status == 507
        else:
            assert await read(client, other, healthy, "hub/") == CONTENT
        assert not first.done()
        first.cancel()


async def test_both_hang_and_each_is_given_up_once(tmp_path: Path, client: aiohttp.ClientSession) -> None:
    one, other = Hanging(2**20), Hanging(2**20)
    async with asyncio.timeout(30), nodes(tmp_path, one, other) as [node]:
        reading = [asyncio.ensure_future(read(client, node, one, registry)) for registry in ("", "hub/")]
        await until(lambda: len(one.requests) == len(other.requests) == 1)
        await asyncio.sleep(3 * float(PATIENCE))
        assert (len(one.requests), len(other.requests)) == (1, 1)
        assert not any(task.done() for task in reading)
        for task in reading:
            task.cancel()


async def test_each_registry_is_waited_for_as_long_as_its_own_time_out_says(
    tmp_path: Path, client: aiohttp.ClientSession
) -> None:
    """One that may be silent for long does not lend its patience to another."""
    hanging, other = Hanging(None), Blob(CONTENT)
    async with asyncio.timeout(30), contextlib.AsyncExitStack() as stack:
        for one in (hanging, other):
            await stack.enter_async_context(holding(one))
        silence = {"hub": 0.5, "": 600.0}
        node = await stack.enter_async_context(filling(tmp_path, other.url, hub=hanging.url, silence=silence))
        async with client.get(f"{node.url}/v2/hub/lib/blob/blobs/{hanging.digest}") as answer:
            assert answer.status == 504
            assert "does not begin to send" in await answer.text()
