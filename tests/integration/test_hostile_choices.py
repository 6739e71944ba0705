"""Addresses that are odd, or meant to lead to another registry than the one that is looked at."""

import asyncio
import contextlib
import http.client
import json
import re
import socket
from collections.abc import AsyncIterator, Iterator
from typing import Any, BinaryIO
from urllib.parse import quote, urlsplit

import pytest

from tests.lab.caller import ACCEPT
from tests.lab.fake_registry import proxied
from tests.lab.proxy import Proxy
from tests.lab.registries import EVERY_WAY, HUB, MODELS, NAMES, PASSWORDS, PULL, TOKENS, Registries
from tests.lab.registry_client import RegistryClient


@pytest.fixture(scope="module")
def proxy(registries: Registries, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxy]:
    config = registries.config(more='trusted_proxies = ["127.0.0.2/32"]')
    with Proxy.start(tmp_path_factory.mktemp("proxy"), registries.default.url, config=config) as started:
        yield started


@pytest.fixture
def client(proxy: Proxy) -> Iterator[RegistryClient]:
    with RegistryClient(proxy.url) as connection:
        yield connection


STRANGERS = (
    "evil.example",
    "docker.io.evil.example",
    "docker.io@evil.example",
    "evil.example#docker.io",
    "docker.io%00.evil.example",
    "docker.io/../evil.example",
    "http://docker.io",
    "docker.io:5000",
    "169.254.169.254",
    "[fd00:ec2::254]",
    "localhost",
    "",
)


async def test_a_host_that_no_registry_stands_for_is_a_404_and_never_dialled(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever reaches the resolver or a socket on the proxy's side of this process fails the test."""
    loop, dialled = asyncio.get_running_loop(), list[object]()

    async def record(*asked: object, **_: object) -> None:
        dialled.append(asked)
        raise OSError("nobody is to be dialled")

    further = [{"name": "hub", "url": "http://127.0.0.1:1", "namespaces": ["docker.io"], "prefix": "hub"}]
    settings = {"upstream__name": "default", "upstreams": json.dumps(further)}
    async with proxied("http://127.0.0.1:2", **settings) as url, talking(url) as say:
        with monkeypatch.context() as patched:
            patched.setattr(loop, "sock_connect", record)
            patched.setattr(loop, "getaddrinfo", record)
            patched.setattr(loop, "create_connection", record)
            for stranger in STRANGERS:
                for path in (PULL, f"{PULL}--0.0.0.0", "/v2/", "/v2/hub/a/tags/list", "/v2/a/blobs/uploads/"):
                    method = "POST" if path.endswith("uploads/") else "GET"
                    status, body = await say(f"{method} {path}?ns={quote(stranger, safe=':/@[]')}", "cache.hub.lab")
                    (error,) = json.loads(body)["errors"]
                    assert (status, error["code"]) == (404, "NAME_UNKNOWN"), (stranger, path)
                    assert f"no registry of this proxy is {stranger!r}" in error["message"]
                    assert "upstream.namespaces" in error["message"]
            assert not dialled
            # The same ways do dial where the name is known: the test would see it.
            status, _ = await say(f"GET {PULL}?ns=docker.io", "x")
            assert status in (502, 503, 500)
            assert dialled


@contextlib.asynccontextmanager
async def talking(url: str) -> AsyncIterator[Any]:
    """Yield what says a request line, on one connection, and returns status and body of the answer."""
    address = urlsplit(url)
    reader, writer = await asyncio.open_connection(address.hostname, address.port)

    async def say(line: str, host: str) -> tuple[int, bytes]:
        writer.write(f"{line} HTTP/1.1\r\nHost: {host}\r\nContent-Length: 0\r\n\r\n".encode())
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        length = int(re.findall(r"(?i)content-length: (\d+)", head)[0])
        return int(head.split()[1]), await reader.readexactly(length)

    try:
        yield say
    finally:
        writer.close()
        await writer.wait_closed()


NOBODY = "nobody"
ODD_REQUESTS: list[tuple[str, str, int, str]] = [
    # target, Host, status for who shows nothing, and the registry that was asked
    ("/v2/h%75b/library/model/manifests/v1", "x", 400, NOBODY),
    ("/v2/hub%2flibrary/model/manifests/v1", "x", 400, NOBODY),
    ("/v2/hub%2Flibrary/model/manifests/v1?ns=docker.io", "x", 400, NOBODY),
    ("/v2/hub/../vault/library/model/manifests/v1", "x", 400, NOBODY),
    ("/v2/hub/%2e%2e/vault/library/model/manifests/v1", "x", 400, NOBODY),
    ("/v2/vault/..%2fhub/library/model/manifests/v1", "x", 400, NOBODY),
    ("/v2/vault/..;/hub/library/model/manifests/v1", "x", 400, NOBODY),
    ("/v2//hub/library/model/manifests/v1", "x", 400, NOBODY),
    ("/v2/hub//library/model/manifests/v1", "x", 400, NOBODY),
    ("//v2/hub/library/model/manifests/v1", "x", 400, NOBODY),
    ("/v2/hub\\library/model/manifests/v1", "x", 400, NOBODY),
    ("/%762/hub/library/model/manifests/v1", "x", 400, NOBODY),
    ("/v2/HUB/library/model/manifests/v1", "x", 400, NOBODY),
    ("/v2/hub/library/model/manifests/v1#", "x", 400, NOBODY),
    (f"{PULL}?ns=docker.io&ns=vault.example", "x", 400, NOBODY),
    (f"{PULL}?ns=vault.example&a=1&n%73=docker.io", "x", 400, NOBODY),
    (f"{PULL}?ns=docker.io&ns=docker.io", "x", 200, HUB),
    (f"{PULL}?ns=docker.io", "vault.lab", 200, HUB),
    ("/v2/hub/library/model/manifests/v1?ns=docker.io", "x", 404, HUB),  # ns names it, so "hub" is of the name
    (f"http://cache.hub.lab{PULL}", "vault.lab", 200, HUB),
    (f"http://vault.lab:80{PULL}", "cache.hub.lab", 401, TOKENS),
    (f"HTTP://elsewhere.example{PULL}", "cache.hub.lab", 401, PASSWORDS),
    (f"http://user@cache.hub.lab{PULL}", "cache.hub.lab", 401, PASSWORDS),
    ("http://elsewhere.example/v2/hub/library/model/manifests/v1", "vault.lab", 200, HUB),
    (PULL, "cache.hub.lab:5000", 200, HUB),
    (PULL, "CACHE.Hub.LAB.", 200, HUB),
    (PULL, "cache.hub.lab.:80", 200, HUB),
    (PULL, "hub.lab", 401, PASSWORDS),
    (PULL, "cache.hub.lab.evil.example", 401, PASSWORDS),
    (PULL, "cache.hub.lab:x", 400, NOBODY),
    (PULL, "evil.example@cache.hub.lab", 400, NOBODY),
    (PULL, "[::1]:5000", 401, PASSWORDS),
    (PULL, "[::ffff:127.0.0.1]", 401, PASSWORDS),
    (PULL, "[cache.hub.lab]", 401, PASSWORDS),
    (PULL, "", 401, PASSWORDS),
    ("/v2/hub", "x", 301, HUB),  # to /v2/hub/, as the registry says of /v2
    ("/v2/hub/", "x", 200, HUB),
    ("/v2/hubs/library/model/manifests/v1", "x", 401, PASSWORDS),
]


@pytest.mark.parametrize(("target", "host", "status", "registry"), ODD_REQUESTS)
def test_odd_addresses_lead_to_one_registry_or_none(
    registries: Registries, client: RegistryClient, target: str, host: str, status: int, registry: str
) -> None:
    before = registries.asked()
    answer = client.request("GET", target, headers={"Host": host, "Accept": ACCEPT})
    assert answer.status == status, answer.body
    if status == 200 and "manifests" in target:
        assert answer.headers["docker-content-digest"] == MODELS[registry].digest
    asked = {name for name, count in registries.asked().items() if count != before[name]}
    assert asked == ({registry} - {NOBODY})


@pytest.mark.parametrize(
    ("source", "forwarded", "registry"),
    [
        ("127.0.0.1", ["cache.hub.lab"], PASSWORDS),
        ("127.0.0.2", ["cache.hub.lab"], HUB),
        ("127.0.0.2", ["vault.lab, cache.hub.lab:443"], HUB),
        ("127.0.0.2", ["cache.hub.lab, vault.lab"], TOKENS),
        ("127.0.0.2", ["cache.hub.lab", "vault.lab"], TOKENS),
        ("127.0.0.2", ["elsewhere.example"], PASSWORDS),
        ("127.0.0.2", [], PASSWORDS),
    ],
)
def test_a_forwarded_host_counts_from_trusted_proxies_alone(
    registries: Registries, proxy: Proxy, source: str, forwarded: list[str], registry: str
) -> None:
    before = registries.asked()
    address = urlsplit(proxy.url)
    connection = http.client.HTTPConnection(address.hostname or "", address.port, source_address=(source, 0))
    with contextlib.closing(connection):
        connection.putrequest("GET", PULL)
        connection.putheader("Accept", ACCEPT)
        for host in forwarded:
            connection.putheader("X-Forwarded-Host", host)
        connection.endheaders()
        assert connection.getresponse().status == (200 if registry == HUB else 401)
    assert {name for name, count in registries.asked().items() if count != before[name]} == {registry}


def test_registries_take_turns_on_one_kept_connection(registries: Registries, proxy: Proxy) -> None:
    """All at once, with bodies in between that look like requests to another registry."""
    inside = f"GET {PULL}?ns=docker.io HTTP/1.1\r\nHost: x\r\n\r\n".encode()
    bodies = [b"", inside, b"%x\r\n%b\r\n0\r\n\r\n" % (len(inside), inside)]
    framed = ["", f"Content-Length: {len(inside)}\r\n", "Transfer-Encoding: chunked\r\n"]
    written, expected = b"", []
    for at in range(24):
        way = EVERY_WAY[at * 7 % len(EVERY_WAY)]
        is_write = at % 3 > 0
        method, target = ("PUT", "/v2/library/model/manifests/new") if is_write else ("GET", PULL)
        host = way.headers.get("Host", "x")
        kind = "Content-Type: application/vnd.oci.image.manifest.v1+json\r\n"
        head = (
            f"{method} {way.target(target)} HTTP/1.1\r\nHost: {host}\r\nAccept: {ACCEPT}\r\n{kind}{framed[at % 3]}\r\n"
        )
        written += head.encode() + bodies[at % 3]
        refused = {PASSWORDS: 401, TOKENS: 401, HUB: 400 if is_write else 200}
        expected.append((refused[way.registry], way.registry))
    before = registries.asked()
    with socket.create_connection((urlsplit(proxy.url).hostname, urlsplit(proxy.url).port), timeout=30) as connection:
        connection.sendall(written)
        file = connection.makefile("rb")
        for status, registry in expected:
            assert (status_of_next(file), registry) == (status, registry)
    after = registries.asked()
    for name in NAMES:
        assert after[name] - before[name] == sum(one == name for _, one in expected), name


def status_of_next(file: BinaryIO) -> int:
    """Read one answer off a connection that several requests were written to."""
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        line = file.readline()
        assert line, head
        head += line
    length = int(re.findall(rb"(?i)content-length: (\d+)", head)[0])
    assert len(file.read(length)) == length
    return int(head.split()[1])
