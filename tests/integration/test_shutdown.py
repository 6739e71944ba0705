"""SIGTERM in the middle of everything: what runs ends well, nothing new begins, and the exit status is 0."""

import asyncio
import hashlib
import os
import re
import socket
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from tests.lab.fake_registry import until
from tests.lab.images import push_field_image
from tests.lab.layers import Blob
from tests.lab.proxy import Proxy
from tests.lab.registry import Registry
from tests.lab.registry_client import RegistryClient

DOWNLOADS = 50
GRACE = 60.0
REPOSITORY = "shutdown/model"
CONTENT = os.urandom(8 * 2**20)  # more than the kernel buffers on the way
DIGEST = "sha256:" + hashlib.sha256(CONTENT).hexdigest()
GET = f"GET /v2/{REPOSITORY}/blobs/{DIGEST} HTTP/1.1\r\nHost: h\r\n\r\n".encode()
Connection = tuple[asyncio.StreamReader, asyncio.StreamWriter]


async def connect(stack: AsyncExitStack, address: str) -> Connection:
    """Open a connection with a small window: a download that nobody reads is then still under way."""
    host, _, port = address.rpartition(":")
    raw = socket.socket()
    raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65_536)
    raw.settimeout(0)
    await asyncio.get_running_loop().sock_connect(raw, (host, int(port)))
    reader, writer = await asyncio.open_connection(sock=raw)
    stack.callback(writer.close)
    return reader, writer


async def begin(connection: Connection, taken: int) -> "hashlib._Hash":
    """Ask for the blob and take its first bytes."""
    reader, writer = connection
    writer.write(GET)
    head = await reader.readuntil(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 ")
    return hashlib.sha256(await reader.readexactly(taken))


async def finish(connection: Connection, begun: "hashlib._Hash", taken: int) -> str:
    """Take the rest, and see that the connection ends behind it."""
    reader, _ = connection
    left = len(CONTENT) - taken
    while left:
        chunk = await reader.read(min(left, 65_536))
        assert chunk, f"the download broke off {left} bytes before its end"
        begun.update(chunk)
        left -= len(chunk)
    assert await reader.read() == b""
    return "sha256:" + begun.hexdigest()


@pytest.fixture
def pushed(registry: Registry) -> None:
    cells = {(0, column): {f"{column}": b"%d" % column} for column in range(2)}
    push_field_image(registry.url, REPOSITORY, "v1", cells=cells)
    with RegistryClient(registry.url) as client:
        client.push_blob(REPOSITORY, Blob(CONTENT, "application/octet-stream"))


@pytest.mark.usefixtures("pushed")
async def test_sigterm_during_fifty_downloads(registry: Registry, tmp_path: Path) -> None:
    environment = {"TWODFS_PROXY_SHUTDOWN_GRACE": str(GRACE)}
    with Proxy.start(tmp_path, registry.url, environment=environment) as proxy:
        async with asyncio.timeout(GRACE), AsyncExitStack() as stack:
            fresh, _ = await connect(stack, proxy.address)
            kept = await connect(stack, proxy.address)
            kept[1].write(b"HEAD" + GET.removeprefix(b"GET"))
            await kept[0].readuntil(b"\r\n\r\n")
            running = [await connect(stack, proxy.address) for _ in range(DOWNLOADS)]
            # Each is somewhere else in its body when the signal comes.
            taken = [1 + number * 20_000 for number in range(DOWNLOADS)]
            hashes = [await begin(*both) for both in zip(running, taken, strict=True)]

            ended = asyncio.get_running_loop().run_in_executor(None, proxy.terminate, GRACE)
            await until(lambda: any(one["event"] == "stopping" for one in proxy.log_events()))
            for idle in (fresh, kept[0]):
                assert await idle.read() == b"", "a request on it would hang"
            host, _, port = proxy.address.rpartition(":")
            with pytest.raises(ConnectionRefusedError):
                await asyncio.open_connection(host, int(port))
            assert not ended.done()

            digests = await asyncio.gather(*(finish(*each) for each in zip(running, hashes, taken, strict=True)))
            assert digests == [DIGEST] * DOWNLOADS
            assert await ended == 0
        events = proxy.log_events()
    lines = [one for one in events if one["event"] == "request" and one["method"] == "GET"]
    assert [one["status"] for one in lines] == [200] * DOWNLOADS
    assert events[-1]["event"] == "stopped"


@pytest.mark.parametrize("framing", ["length", "chunks"])
@pytest.mark.parametrize("relay", ["auto", "buffered"])
async def test_sigterm_during_an_upload(registry: Registry, tmp_path: Path, framing: str, relay: str) -> None:
    parts = [os.urandom(300_000) for _ in range(2)]
    environment = {"TWODFS_PROXY_SHUTDOWN_GRACE": str(GRACE), "TWODFS_PROXY_BLOBS_RELAY": relay}
    with Proxy.start(tmp_path, registry.url, environment=environment) as proxy:
        async with asyncio.timeout(GRACE), AsyncExitStack() as stack:
            reader, writer = await connect(stack, proxy.address)
            target = f"/v2/{REPOSITORY}/blobs/uploads/"
            writer.write(f"POST {target} HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\n\r\n".encode())
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            location = re.search(r"(?mi)^location: http://[^/]+(\S+)", head)
            assert location is not None
            lengths = {
                "length": f"Content-Length: {sum(map(len, parts))}",
                "chunks": "Transfer-Encoding: chunked",
            }
            writer.write(f"PATCH {location[1]} HTTP/1.1\r\nHost: h\r\n{lengths[framing]}\r\n\r\n".encode())

            async def send(part: bytes) -> None:
                writer.write(b"%x\r\n%s\r\n" % (len(part), part) if framing == "chunks" else part)
                await writer.drain()

            await send(parts[0])
            ended = asyncio.get_running_loop().run_in_executor(None, proxy.terminate, GRACE)
            await until(lambda: any(one["event"] == "stopping" for one in proxy.log_events()))
            await asyncio.sleep(0.5)
            await send(parts[1])
            if framing == "chunks":
                writer.write(b"0\r\n\r\n")
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            assert head.startswith("HTTP/1.1 202 ")
            assert f"\r\nRange: 0-{sum(map(len, parts)) - 1}\r\n" in head
            assert await ended == 0
