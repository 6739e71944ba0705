"""Bodies from the registry to clients, spliced and buffered: every byte, and both connections afterwards."""

import asyncio
import contextlib
from pathlib import Path

import pytest

from proxy.bodies.splice import PIPE_SIZE
from tests.lab.blob_wire import CONTENT, KIB, MIB, End, Relay, sha256, wire
from tests.lab.fake_registry import until
from tests.lab.layers import Blob
from tests.lab.process import resident
from tests.lab.proxy import Proxy
from tests.lab.redis import Redis
from tests.lab.registry import Registry
from tests.lab.registry_client import RegistryClient

DIGEST = f"sha256:{sha256(CONTENT)}"
SIZES = (0, 1, 64 * KIB - 1, 64 * KIB, 64 * KIB + 1, 500_000, PIPE_SIZE, PIPE_SIZE + 1, len(CONTENT))
CUTS = (0, 1, 1000, 64 * KIB, 64 * KIB + 1, 300_000, 600_000, PIPE_SIZE, PIPE_SIZE + 1, 2 * MIB, 3 * MIB - 1)


@pytest.fixture(params=["auto", "buffered"])
def plaintext_relay(request: pytest.FixtureRequest) -> str:
    return str(request.param)


async def sizes_in_turn(end: End) -> None:
    """Answer each request with the number of bytes that its query names."""
    while True:
        head, _ = await end.message()
        method, target, _ = head.split(b" ", 2)
        size = int(target.rpartition(b"?")[2])
        await end.answer(b"" if method == b"HEAD" else CONTENT[:size], length=size)


async def test_bodies_of_every_size_pass_over_one_kept_connection_on_each_side(relay: Relay) -> None:
    async with wire(sizes_in_turn, relay) as between, between.client() as client:
        for _ in range(2):
            for size in SIZES:
                await client.get(f"/v2/lib/a/blobs/{DIGEST}?{size}")
                head, body = await client.message()
                assert head.startswith(b"HTTP/1.1 200 OK\r\n")
                assert sha256(body) == sha256(CONTENT[:size])
        assert between.connections == 1
        assert bool(await between.relayed("spliced", relay.splices)) == relay.splices
        assert bool(await between.relayed("decrypted", relay.decrypts)) == relay.decrypts
        assert not await between.broken("short")


async def test_head_has_no_body_and_does_not_disturb_what_follows(relay: Relay) -> None:
    async with wire(sizes_in_turn, relay) as between, between.client() as client:
        for _ in range(3):
            await client.get(f"/v2/lib/a/blobs/{DIGEST}?{MIB}", "HEAD")
            assert f"Content-Length: {MIB}\r\n".encode() in await client.head()
            await client.get(f"/v2/lib/a/blobs/{DIGEST}?{MIB}")
            _, body = await client.message()
            assert sha256(body) == sha256(CONTENT[:MIB])
        assert between.connections == 1


async def test_requests_pipelined_behind_a_large_answer_are_answered_in_turn(relay: Relay) -> None:
    async with wire(sizes_in_turn, relay) as between, between.client() as client:
        sizes = (len(CONTENT), 10, 3 * MIB, 0, 1, 2 * MIB)
        for size in sizes:
            await client.get(f"/v2/lib/a/blobs/{DIGEST}?{size}")
        for size in sizes:
            _, body = await client.message()
            assert sha256(body) == sha256(CONTENT[:size])


async def test_a_small_answer_leaves_in_one_segment(relay: Relay) -> None:
    async with wire(sizes_in_turn, relay) as between, between.client() as client:
        await client.get(f"/v2/lib/a/blobs/{DIGEST}?1000")
        assert (await client.reader.read(64 * KIB)).endswith(b"\r\n\r\n" + CONTENT[:1000])


async def test_the_head_does_not_wait_for_a_body_that_is_late(relay: Relay) -> None:
    hold = asyncio.Event()

    async def talk(end: End) -> None:
        await end.head()
        await end.answer(b"", length=MIB)
        await hold.wait()
        await end.say(CONTENT[:MIB])

    async with wire(talk, relay) as between, between.client() as client:
        await client.get()
        assert (await client.head()).startswith(b"HTTP/1.1 200 ")
        hold.set()
        assert sha256(await client.reader.readexactly(MIB)) == sha256(CONTENT[:MIB])


async def test_a_slow_client_gets_everything(relay: Relay) -> None:
    async with wire(sizes_in_turn, relay) as between, between.client() as client:
        await client.get(f"/v2/lib/a/blobs/{DIGEST}?{len(CONTENT)}")
        await client.head()
        received = bytearray()
        while len(received) < len(CONTENT):
            received += await client.reader.read(256 * KIB)
            await asyncio.sleep(0.01)
        assert sha256(received) == sha256(CONTENT)
        await client.get(f"/v2/lib/a/blobs/{DIGEST}?5")
        assert (await client.message())[1] == CONTENT[:5]
        assert between.connections == 1


async def test_a_slow_registry_is_passed_on_as_it_comes(relay: Relay) -> None:
    size = 200_000

    async def talk(end: End) -> None:
        while True:
            await end.head()
            await end.answer(CONTENT[:70_001], length=size)
            for at in range(70_001, size, 10_000):
                await asyncio.sleep(0.01)
                await end.say(CONTENT[at : min(at + 10_000, size)])

    async with wire(talk, relay) as between, between.client() as client:
        for _ in range(2):
            await client.get()
            await client.head()
            first = await asyncio.wait_for(client.reader.readexactly(70_001), 30)
            rest = await client.reader.readexactly(size - 70_001)
            assert sha256(first + rest) == sha256(CONTENT[:size])
        assert between.connections == 1


@pytest.mark.parametrize("cut", CUTS)
async def test_a_registry_that_breaks_off_breaks_off_the_client_unpadded(relay: Relay, cut: int) -> None:
    size = 3 * MIB

    async def talk(end: End) -> None:
        await end.head()
        await end.answer(CONTENT[:cut], length=size)

    async with wire(talk, relay) as between, between.client() as client:
        await client.get()
        await client.head()
        rest = await client.reader.read(-1)
        assert rest == CONTENT[: len(rest)]
        assert len(rest) == cut
        assert await between.broken("short", 1) == 1
        async with between.client() as another:  # and nothing is left of it
            await another.get()
            assert (await another.head()).startswith(b"HTTP/1.1 200 ")
        assert between.connections == 2


@pytest.mark.parametrize("cut", CUTS)
async def test_a_client_that_leaves_ends_the_request_upstream(relay: Relay, cut: int) -> None:
    async def talk(end: End) -> None:
        await end.head()
        await end.answer(CONTENT, length=1000 * MIB)
        for _ in range(1000):
            await end.say(CONTENT)

    async with wire(talk, relay) as between:
        async with between.client() as client:
            await client.get()
            await client.head()
            assert await client.reader.readexactly(cut) == CONTENT[:cut]
        await until(lambda: bool(between.gone))
        await asyncio.wait_for(between.gone[0].wait(), 30)


@pytest.mark.parametrize("surplus", [b"x", b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil", CONTENT[:MIB]])
async def test_bytes_behind_the_announced_end_reach_nobody(relay: Relay, surplus: bytes) -> None:
    size = 2 * MIB

    async def talk(end: End) -> None:
        await end.head()
        await end.answer(CONTENT[:size] + surplus, length=size)
        await end.reader.read()

    async with wire(talk, relay) as between, between.client() as client:
        for count in (1, 2, 3):
            await client.get()
            _, body = await client.message()
            assert sha256(body) == sha256(CONTENT[:size])
            assert between.connections == count
            await asyncio.wait_for(between.gone[-1].wait(), 30)  # the proxy hangs up on what it hears
        if relay.splices or relay.decrypts:
            assert await between.broken("surplus", 3) == 3


async def test_a_registry_that_closes_after_its_answer_is_not_asked_again(relay: Relay) -> None:
    async def talk(end: End) -> None:
        await end.head()
        await end.answer(CONTENT[: 2 * MIB])

    async with wire(talk, relay) as between, between.client() as client:
        for count in (1, 2, 3):
            await client.get()
            _, body = await client.message()
            assert sha256(body) == sha256(CONTENT[: 2 * MIB])
            assert between.connections == count
        assert not await between.broken("short")


async def test_a_chunked_answer_passes_whole(relay: Relay) -> None:
    async def talk(end: End) -> None:
        while True:
            await end.head()
            await end.say(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
            for at in range(0, 3 * MIB, 100_000):
                part = CONTENT[at : min(at + 100_000, 3 * MIB)]
                await end.say(b"%x\r\n" % len(part), part, b"\r\n")
            await end.say(b"0\r\n\r\n")

    async with wire(talk, relay) as between, between.client() as client:
        for _ in range(2):
            await client.get()
            assert b"chunked" in await client.head()
            received = bytearray()
            while size := int(await client.reader.readline(), 16):
                received += await client.reader.readexactly(size)
                await client.reader.readexactly(2)
            await client.reader.readexactly(2)
            assert sha256(received) == sha256(CONTENT[: 3 * MIB])
        assert between.connections == 1
        assert not await between.relayed("spliced")


async def test_a_registry_that_falls_silent_in_a_body_is_given_up(relay: Relay) -> None:
    async def talk(end: End) -> None:
        await end.head()
        await end.answer(CONTENT[:MIB], length=3 * MIB)
        assert await end.reader.read() == b""

    async with (
        wire(talk, relay, upstream__read_timeout="0.3") as between,
        between.client() as client,
    ):
        await client.get()
        await client.head()
        with pytest.raises((asyncio.IncompleteReadError, ConnectionError)):
            await client.reader.readexactly(3 * MIB)
        await asyncio.wait_for(between.gone[0].wait(), 30)


async def test_a_client_that_takes_nothing_is_given_up(relay: Relay) -> None:
    async def talk(end: End) -> None:
        await end.head()
        await end.answer(CONTENT, length=1000 * MIB)
        for _ in range(1000):
            await end.say(CONTENT)

    async with (
        wire(talk, relay, client__idle_timeout="0.3") as between,
        between.client() as client,
    ):
        client.writer.transport.pause_reading()  # type: ignore[attr-defined]
        await client.get()
        await until(lambda: bool(between.gone))
        await asyncio.wait_for(between.gone[0].wait(), 30)


async def test_slow_is_not_silent(relay: Relay) -> None:
    """Both sides go on for much longer than either may be silent."""
    size = 64 * KIB * 20

    async def talk(end: End) -> None:
        await end.head()
        await end.answer(CONTENT[:1], length=size)
        for at in range(1, size, 64 * KIB):
            await asyncio.sleep(0.05)
            await end.say(CONTENT[at : min(at + 64 * KIB, size)])

    async with (
        wire(talk, relay, client__idle_timeout="0.5", upstream__read_timeout="0.5") as between,
        between.client() as client,
    ):
        await client.get()
        _, body = await client.message()
        assert sha256(body) == sha256(CONTENT[:size])


async def test_many_streams_at_once_do_not_mix(relay: Relay) -> None:
    async def talk(end: End) -> None:
        while True:
            head = await end.head()
            start = int(head.split(b" ")[1].rpartition(b"?")[2])
            await end.answer(CONTENT[start : start + 2 * MIB])

    async with wire(talk, relay) as between:

        async def one(start: int) -> None:
            async with between.client() as client:
                for offset in (0, 500):
                    await client.get(f"/v2/lib/a/blobs/{DIGEST}?{start + offset}")
                    _, body = await client.message()
                    assert sha256(body) == sha256(CONTENT[start + offset :][: 2 * MIB])

        async with asyncio.TaskGroup() as tasks:
            for at in range(64):
                tasks.create_task(one(at * 1000))
        if relay.splices:
            assert await between.relayed("spliced", 128) == 128


async def test_more_streams_than_pipes_are_buffered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("proxy.bodies.splice._MOST_PIPES", 2)
    async with wire(sizes_in_turn) as between:

        async def one() -> None:
            async with between.client() as client:
                await client.get(f"/v2/lib/a/blobs/{DIGEST}?{len(CONTENT)}")
                _, body = await client.message()
                assert sha256(body) == sha256(CONTENT)

        async with asyncio.TaskGroup() as tasks:
            for _ in range(8):
                tasks.create_task(one())
        assert 2 <= await between.relayed("spliced", 2) < 8


async def test_ranges_of_a_real_registry_come_back_right(
    registry: Registry, tmp_path: Path, plaintext_relay: str
) -> None:
    target = pushed(registry, "wire/range")
    with Proxy.start(tmp_path, registry.url, environment={"TWODFS_PROXY_BLOBS_RELAY": plaintext_relay}) as proxy:
        host, _, port = proxy.address.rpartition(":")
        reader, writer = await asyncio.open_connection(host, int(port), limit=16 * MIB)
        client_end = End(reader, writer)
        with contextlib.closing(writer):
            for first, last in ((0, 0), (5, 5 * MIB), (MIB, len(CONTENT) - 1), (0, len(CONTENT) - 1)):
                asked = f"Range: bytes={first}-{last}\r\n"
                await client_end.say(f"GET {target} HTTP/1.1\r\nHost: h\r\n{asked}\r\n".encode())
                head, body = await asyncio.wait_for(client_end.message(), 30)
                assert head.startswith(b"HTTP/1.1 206 ")
                assert sha256(body) == sha256(CONTENT[first : last + 1])
            await client_end.say(f"GET {target} HTTP/1.1\r\nHost: h\r\n\r\n".encode())
            _, body = await asyncio.wait_for(client_end.message(), 30)
            assert sha256(body) == sha256(CONTENT)


async def test_two_workers_carry_bodies_both_ways_unharmed(
    registry: Registry, redis_server: Redis, tmp_path: Path, plaintext_relay: str
) -> None:
    settings = {
        "TWODFS_PROXY_BLOBS_RELAY": plaintext_relay,
        "TWODFS_PROXY_WORKERS": "2",
        "TWODFS_PROXY_CACHE_REDIS_URL": redis_server.url,
    }
    with Proxy.start(tmp_path, registry.url, environment=settings) as proxy:

        def both_ways(at: int) -> str:
            blob = Blob(CONTENT[at:], "application/octet-stream")
            with RegistryClient(proxy.url) as client:
                client.push_blob(f"wire/workers-{at}", blob)
                return sha256(client.request("GET", f"/v2/wire/workers-{at}/blobs/{blob.digest}").body)

        seen = await asyncio.gather(*(asyncio.to_thread(both_ways, at) for at in range(8)))
        assert seen == [sha256(CONTENT[at:]) for at in range(8)]


def pushed(registry: Registry, repository: str) -> str:
    blob = Blob(CONTENT, "application/octet-stream")
    with RegistryClient(registry.url) as client:
        client.push_blob(repository, blob)
    return f"/v2/{repository}/blobs/{blob.digest}"


def descriptors(process: int) -> list[str]:
    found = []
    for entry in Path(f"/proc/{process}/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):
            found.append(str(entry.readlink()))
    return found


async def test_slow_clients_hold_little_in_memory(registry: Registry, tmp_path: Path, plaintext_relay: str) -> None:
    target = pushed(registry, "wire/slow")
    environment = {"TWODFS_PROXY_BLOBS_RELAY": plaintext_relay}
    with Proxy.start(tmp_path, registry.url, environment=environment) as proxy:
        host, _, port = proxy.address.rpartition(":")
        async with contextlib.AsyncExitStack() as stack:

            async def begin(count: int) -> list[End]:
                ends = []
                for _ in range(count):
                    end = End(*await asyncio.open_connection(host, int(port), limit=4 * KIB))
                    stack.push_async_callback(end.leave)
                    await end.get(target)
                    assert (await end.head()).startswith(b"HTTP/1.1 200 ")
                    end.writer.transport.pause_reading()  # type: ignore[attr-defined]
                    ends.append(end)
                return ends

            await begin(20)
            before = resident(proxy.pid)
            await begin(200)
            await asyncio.sleep(1)  # what is read ahead is there by then
            assert resident(proxy.pid) - before < 200 * 256 * KIB


async def test_neither_sockets_nor_pipes_leak(registry: Registry, tmp_path: Path, plaintext_relay: str) -> None:
    target = pushed(registry, "wire/leak")
    environment = {
        "TWODFS_PROXY_BLOBS_RELAY": plaintext_relay,
        "TWODFS_PROXY_UPSTREAM_KEEPALIVE_TIMEOUT": "0.2",
    }
    with Proxy.start(tmp_path, registry.url, environment=environment) as proxy:
        host, _, port = proxy.address.rpartition(":")

        async def one(size: int) -> None:
            reader, writer = await asyncio.open_connection(host, int(port), limit=64 * KIB)
            writer.write(f"GET {target} HTTP/1.1\r\nHost: h\r\n\r\n".encode())
            await reader.readuntil(b"\r\n\r\n")
            await asyncio.wait_for(reader.readexactly(size), 60)
            writer.close()

        async def several(count: int) -> None:
            async with asyncio.TaskGroup() as tasks:
                for at in range(count):
                    tasks.create_task(one(at * len(CONTENT) // count if at % 2 else len(CONTENT)))

        await several(16)
        before = len([one for one in descriptors(proxy.pid) if not one.startswith("pipe:")])
        for _ in range(4):
            await several(32)
        assert len([one for one in descriptors(proxy.pid) if one.startswith("pipe:")]) <= 2 * 64 + 8

        def settled() -> bool:
            return len([one for one in descriptors(proxy.pid) if not one.startswith("pipe:")]) <= before

        await until(settled, 30)
