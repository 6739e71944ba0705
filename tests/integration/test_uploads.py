"""Bodies from clients to the registry, spliced and buffered: every byte, and both connections afterwards."""

import asyncio
import contextlib
import re

import pytest

from proxy.bodies.splice import PIPE_SIZE
from tests.lab.blob_wire import CONTENT, KIB, MIB, UPLOAD, End, Relay, sha256, wire
from tests.lab.fake_registry import until

SIZES = (0, 1, 64 * KIB - 1, 64 * KIB, 64 * KIB + 1, 500_000, PIPE_SIZE, PIPE_SIZE + 1, len(CONTENT))
CUTS = (0, 1, 1000, 64 * KIB, 64 * KIB + 1, 300_000, 600_000, PIPE_SIZE, PIPE_SIZE + 1, 2 * MIB, 3 * MIB - 1)
CREATED = b"HTTP/1.1 201 Created\r\nContent-Length: 64\r\n\r\n"
PAYLOAD_TOO_LARGE = b"HTTP/1.1 413 Payload Too Large\r\nContent-Length: 2\r\n\r\nno"


async def hashing(end: End) -> None:
    """Answer each upload with the hash of what arrived."""
    while True:
        _, body = await end.message()
        await end.say(CREATED, sha256(body).encode())


def put(size: int, *more: str, method: str = "PUT") -> bytes:
    lines = (f"{method} {UPLOAD} HTTP/1.1", "Host: h", f"Content-Length: {size}", *more, "", "")
    return "\r\n".join(lines).encode()


@pytest.mark.parametrize("method", ["PUT", "PATCH", "POST"])
async def test_uploads_of_every_size_pass_over_one_kept_connection_on_each_side(relay: Relay, method: str) -> None:
    async with wire(hashing, relay) as between, between.client() as client:
        for _ in range(2):
            for size in SIZES:
                await client.say(put(size, method=method), CONTENT[:size])
                head, answer = await client.message()
                assert head.startswith(b"HTTP/1.1 201 ")
                assert answer.decode() == sha256(CONTENT[:size])
        assert between.connections == 1
        assert bool(await between.relayed("spliced", relay.splices)) == relay.splices


async def test_requests_pipelined_behind_an_upload_are_answered_in_turn(relay: Relay) -> None:
    async with wire(hashing, relay) as between, between.client() as client:
        sizes = (3 * MIB, 10, 5 * MIB, 0, 64 * KIB, 2 * MIB)

        async def send() -> None:
            for size in sizes:
                await client.say(put(size) + CONTENT[:size])

        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(send())
            for size in sizes:
                _, answer = await client.message()
                assert answer.decode() == sha256(CONTENT[:size])


async def test_a_client_that_expects_100_sends_its_body_after_it(relay: Relay) -> None:
    async with wire(hashing, relay) as between, between.client() as client:
        for _ in range(2):
            await client.say(put(3 * MIB, "Expect: 100-continue"))
            assert await client.head() == b"HTTP/1.1 100 Continue\r\n\r\n"
            await client.say(CONTENT[: 3 * MIB])
            _, answer = await client.message()
            assert answer.decode() == sha256(CONTENT[: 3 * MIB])
        assert bool(await between.relayed("spliced", relay.splices)) == relay.splices


async def test_a_chunked_upload_passes_whole(relay: Relay) -> None:
    async def talk(end: End) -> None:
        head = await end.head()
        assert re.search(rb"\r\nTransfer-Encoding: chunked\r\n", head)
        received = bytearray()
        while size := int(await end.reader.readline(), 16):
            received += await end.reader.readexactly(size)
            await end.reader.readexactly(2)
        await end.reader.readexactly(2)
        await end.say(CREATED, sha256(received).encode())

    async with wire(talk, relay) as between, between.client() as client:
        await client.say(f"PATCH {UPLOAD} HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n".encode())
        for at in range(0, 3 * MIB, 100_000):
            part = CONTENT[at : min(at + 100_000, 3 * MIB)]
            await client.say(b"%x\r\n" % len(part), part, b"\r\n")
        await client.say(b"0\r\n\r\n")
        _, answer = await client.message()
        assert answer.decode() == sha256(CONTENT[: 3 * MIB])
        assert not await between.relayed("spliced")


async def test_a_slow_client_and_a_slow_registry(relay: Relay) -> None:
    size = 2 * MIB

    async def talk(end: End) -> None:
        end.shrink()
        head = await end.head()
        assert b"Content-Length: %d\r\n" % size in head
        received = bytearray()
        while len(received) < size:
            received += await end.reader.readexactly(min(100_000, size - len(received)))
            await asyncio.sleep(0.01)
        await end.say(CREATED, sha256(received).encode())

    async with (
        wire(talk, relay, client__idle_timeout="0.6", upstream__read_timeout="0.6") as between,
        between.client() as client,
    ):
        await client.say(put(size))
        for at in range(0, size, 70_000):
            await asyncio.sleep(0.02)
            await client.say(CONTENT[at : min(at + 70_000, size)])
        _, answer = await client.message()
        assert answer.decode() == sha256(CONTENT[:size])


@pytest.mark.parametrize("cut", CUTS)
async def test_a_client_that_leaves_ends_the_upload_upstream(relay: Relay, cut: int) -> None:
    received = bytearray()

    async def talk(end: End) -> None:
        await end.head()
        while piece := await end.reader.read(MIB):
            received.extend(piece)

    async with wire(talk, relay) as between:
        async with between.client() as client:
            await client.say(put(3 * MIB), CONTENT[:cut])
            await until(lambda: bool(between.gone) and len(received) == cut)
        await asyncio.wait_for(between.gone[0].wait(), 30)
        assert sha256(received) == sha256(CONTENT[:cut])


@pytest.mark.parametrize("cut", CUTS)
async def test_a_registry_that_leaves_ends_the_upload(relay: Relay, cut: int) -> None:
    async def talk(end: End) -> None:
        await end.head()
        await end.reader.readexactly(cut)
        end.writer.transport.abort()

    async with wire(talk, relay) as between, between.client() as client:
        await client.say(put(len(CONTENT)))
        with contextlib.suppress(ConnectionError):
            await client.say(CONTENT)
        head = await asyncio.wait_for(client.head(), 20)
        assert head.startswith(b"HTTP/1.1 502 ")


@pytest.mark.parametrize("cut", [0, 1000, 300_000, 2 * MIB])
@pytest.mark.parametrize("follows", [True, False])
async def test_a_no_in_the_middle_of_an_upload_reaches_the_client(relay: Relay, cut: int, *, follows: bool) -> None:
    """The client sends the rest all the same, or waits; either way, no byte of it becomes a request."""
    asked: list[bytes] = []

    async def talk(end: End) -> None:
        asked.append(await end.head())
        await end.reader.readexactly(0 if b"Content-Length: 0" in asked[-1] else cut)
        await end.say(PAYLOAD_TOO_LARGE)
        await end.reader.read()

    size = 3 * MIB
    body = (b"GET /v2/evil HTTP/1.1\r\nHost: h\r\n\r\n" * (size // 34 + 1))[:size]
    async with wire(talk, relay) as between, between.client() as client:
        await client.say(put(size), body[: cut + 100])
        head, answer = await asyncio.wait_for(client.message(), 30)
        assert head.startswith(b"HTTP/1.1 413 ")
        assert answer == b"no"
        if follows:
            with contextlib.suppress(ConnectionError):
                await client.say(body[cut + 100 :])
        else:
            client.writer.close()
        await asyncio.wait_for(between.gone[0].wait(), 30)
        async with between.client() as another:
            await another.say(put(0))
            assert (await another.head()).startswith(b"HTTP/1.1 413 ")
    assert [head.split(b" ", 1)[0] for head in asked] == [b"PUT", b"PUT"]


async def test_a_client_that_stops_sending_hears_408(relay: Relay) -> None:
    async def talk(end: End) -> None:
        await end.head()
        await end.reader.read()

    async with (
        wire(talk, relay, client__idle_timeout="0.3") as between,
        between.client() as client,
    ):
        await client.say(put(3 * MIB), CONTENT[:MIB])
        assert (await client.head()).startswith(b"HTTP/1.1 408 ")


async def test_a_registry_that_takes_nothing_is_given_up(relay: Relay) -> None:
    async def talk(end: End) -> None:
        await end.head()
        end.writer.transport.pause_reading()  # type: ignore[attr-defined]
        await asyncio.Event().wait()

    async with (
        wire(talk, relay, upstream__read_timeout="0.5") as between,
        between.client() as client,
    ):

        async def send() -> None:
            with contextlib.suppress(ConnectionError):
                await client.say(put(1000 * MIB))
                while True:
                    await client.say(CONTENT)

        async with asyncio.TaskGroup() as tasks:
            sending = tasks.create_task(send())
            assert (await asyncio.wait_for(client.head(), 20)).startswith(b"HTTP/1.1 504 ")
            sending.cancel()


async def test_many_uploads_at_once_do_not_mix(relay: Relay) -> None:
    async with wire(hashing, relay) as between:

        async def one(start: int) -> None:
            async with between.client() as client:
                for offset in (0, 500):
                    body = CONTENT[start + offset :][: 2 * MIB]
                    await client.say(put(len(body)), body)
                    _, answer = await client.message()
                    assert answer.decode() == sha256(body)

        async with asyncio.TaskGroup() as tasks:
            for at in range(64):
                tasks.create_task(one(at * 1000))
        if relay.splices:
            assert await between.relayed("spliced", 128) == 128
