"""Clients that ask for large documents of ours and do not read them, or read slowly."""

import asyncio
import contextlib
import hashlib
import random
import socket
import ssl
from collections.abc import Iterator
from pathlib import Path

import aiohttp
import orjson
import pytest

from tests.lab.certificates import Authority
from tests.lab.fake_registry import proxied
from tests.lab.images import PushedImage, push_field_image
from tests.lab.process import free_port, resident
from tests.lab.proxy import Proxy
from tests.lab.registry import Registry

MIB = 2**20
SIZE = 7 * MIB
CELLS = {(0, col): {f"{col}": b"%d" % col} for col in range(2)}
UNREAD = 100
# What does not repeat: a wrong piece in the right place would not show otherwise.
NOISE = random.Random(7).randbytes(SIZE // 2).hex()


@pytest.fixture(scope="module")
def image(registry: Registry) -> PushedImage:
    return push_field_image(
        registry.url, "unread/model", "v1", cells=CELLS, config_more={"x.noise": NOISE}, kind="oci-manifest"
    )


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(params=["plain", "tls"])
def started(
    request: pytest.FixtureRequest, tmp_path: Path, registry: Registry, authority: Authority
) -> Iterator[tuple[Proxy, ssl.SSLContext | None]]:
    environment, context = {"TWODFS_PROXY_CLIENT_IDLE_TIMEOUT": "120"}, None
    if request.param == "tls":
        pair = authority.issue("listener", "127.0.0.1", "localhost")
        environment["TWODFS_PROXY_TLS_CERTIFICATE"] = str(pair.certificate)
        environment["TWODFS_PROXY_TLS_KEY"] = str(pair.key)
        context = ssl.create_default_context(cafile=authority.bundle)
    with Proxy.start(tmp_path, registry.url, port=free_port(), environment=environment) as proxy:
        yield proxy, context


class Client:
    """One connection; with a small buffer of its kernel, what it does not read stays with the proxy."""

    def __init__(self, proxy: Proxy, context: ssl.SSLContext | None, buffer: int = 2**20) -> None:
        host, _, port = proxy.address.rpartition(":")
        self.socket = socket.socket()
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
        self.socket.settimeout(60)
        self.socket.connect((host, int(port)))
        if context is not None:
            self.socket = context.wrap_socket(self.socket, server_hostname="localhost")
        self.rest = b""

    def ask(self, target: str, *more: str) -> bytes:
        """Send a GET and return the head of its answer."""
        accept = "application/vnd.oci.image.manifest.v1+json"
        lines = (f"GET {target} HTTP/1.1", "Host: h", f"Accept: {accept}", *more, "", "")
        self.socket.sendall("\r\n".join(lines).encode())
        while b"\r\n\r\n" not in self.rest:
            self.rest += self.socket.recv(1024)
        head, _, self.rest = self.rest.partition(b"\r\n\r\n")
        return head

    def body(self, size: int, at_once: int) -> bytes:
        """Read the body in small steps."""
        found = bytearray(self.rest[:size])
        while len(found) < size and (chunk := self.socket.recv(min(at_once, size - len(found)))):
            found += chunk
        self.rest = b""
        return bytes(found)


def length(head: bytes) -> int:
    return next(int(line[15:]) for line in head.split(b"\r\n") if line.startswith(b"Content-Length:"))


def test_a_document_that_many_clients_do_not_read_is_held_once(
    image: PushedImage, started: tuple[Proxy, ssl.SSLContext | None]
) -> None:
    with contextlib.ExitStack() as stack:

        def client(buffer: int = MIB) -> Client:
            one = Client(*started, buffer)
            stack.callback(one.socket.close)
            return one

        first = client()
        top = orjson.loads(first.body(length(first.ask(f"/v2/{image.repository}/manifests/v1--0.0.0.0")), MIB))
        digest = top["config"]["digest"]
        assert top["config"]["size"] > SIZE
        target = f"/v2/{image.repository}/blobs/{digest}"
        whole = first.body(length(first.ask(target)), MIB)
        assert digest == f"sha256:{hashlib.sha256(whole).hexdigest()}"

        before = resident(started[0].pid)
        # Ranges as well: a piece of a document is no copy either.
        unread = [(client(16 * 1024), f"Range: bytes={number % 2}-") for number in range(UNREAD)]
        for one, wanted in unread:
            assert one.ask(target, wanted).startswith(b"HTTP/1.1 206 ")
        again = first.ask("/v2/")  # answered behind all of them
        assert again.startswith(b"HTTP/1.1 200 ")
        first.body(length(again), MIB)
        grown = resident(started[0].pid) - before
        print(f"{UNREAD} clients, {grown / MIB:.1f} MiB")  # noqa: T201 - the figure of the run
        assert grown < UNREAD * 600 * 1024

        # Whoever takes its time gets every byte; so does the one that went on reading late.
        assert unread[0][0].body(len(whole), 50_000) == whole
        assert unread[1][0].body(len(whole) - 1, 300_000) == whole[1:]
        assert first.ask(target, f'If-None-Match: "{digest}"').startswith(b"HTTP/1.1 304 ")
        # The connection is as it was: the next answers come whole.
        assert first.body(length(first.ask(target)), 2 * MIB) == whole
        assert unread[0][0].body(length(unread[0][0].ask(target)), 2 * MIB) == whole


async def test_an_answer_under_way_counts_as_a_request_of_its_client_and_has_its_time(
    registry: Registry, image: PushedImage
) -> None:
    settings = {"limits__requests_per_client": "1", "client__idle_timeout": "1"}
    async with proxied(registry.url, **settings) as url, aiohttp.ClientSession() as session:
        accept = {"Accept": "application/vnd.oci.image.manifest.v1+json"}
        async with session.get(f"{url}/v2/{image.repository}/manifests/v1--0.0.0.0", headers=accept) as top:
            digest = (await top.json(content_type=None))["config"]["digest"]
        host, _, port = url.partition("//")[2].rpartition(":")
        with socket.socket() as unread:
            unread.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 16 * 1024)
            unread.settimeout(0)
            loop = asyncio.get_running_loop()
            await loop.sock_connect(unread, (host, int(port)))
            target = f"/v2/{image.repository}/blobs/{digest}"
            await loop.sock_sendall(unread, f"GET {target} HTTP/1.1\r\nHost: h\r\n\r\n".encode())
            assert (await loop.sock_recv(unread, 12)) == b"HTTP/1.1 200"
            async with session.get(f"{url}/v2/") as second:
                assert second.status == 429

            async def is_let_in() -> bool:
                async with session.get(f"{url}/v2/") as again:
                    return again.status == 200

            async with asyncio.timeout(60):  # the client is given up after its time, not after the test's
                while not await is_let_in():  # noqa: ASYNC110 - what is waited for happens in the proxy
                    await asyncio.sleep(0.05)
            got = 0
            with contextlib.suppress(ConnectionError):
                while chunk := await loop.sock_recv(unread, MIB):
                    got += len(chunk)
            assert got < SIZE  # the connection ended in the middle
