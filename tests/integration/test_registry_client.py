"""`twodfs.registry.session` against stock registries, and against servers that misbehave as real ones do."""

import asyncio
import email.utils
import io
import os
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from tests.lab.images import push_image
from tests.lab.peers import require
from tests.lab.registry import Registry
from tests.lab.token_server import IDENTITY_TOKEN, LOGIN, OTHER_LOGIN, TokenServer, token_server
from twodfs.credentials.credentials import Credentials
from twodfs.errors import AuthError, DigestError, RegistryError
from twodfs.oci.digest import digest_of
from twodfs.oci.documents import (
    MAX_MANIFEST_BYTES,
    OCI_CONFIG,
    OCI_INDEX,
    OCI_LAYER,
    OCI_MANIFEST,
    Descriptor,
    Document,
    Json,
)
from twodfs.registry.exchange import located
from twodfs.registry.message import Request
from twodfs.registry.session import RemoteRepository, Retries, open_registry
from twodfs.registry.transport import Transport
from twodfs.wire.pool import ConnectionPool

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

ANN = Credentials(*LOGIN)
AT_ONCE = Retries(attempts=4, first_delay=0, longest_delay=0)


class Threaded:
    """A repository whose methods run in a thread, so that the servers of a test's loop can answer them."""

    def __init__(self, repository: RemoteRepository) -> None:
        self._repository = repository

    def __getattr__(self, name: str) -> Callable[..., Awaitable[Any]]:
        return partial(asyncio.to_thread, getattr(self._repository, name))


@asynccontextmanager
async def opened(
    address: str,
    name: str,
    *,
    credentials: Credentials | None = None,
    push: bool = True,
    retries: Retries = AT_ONCE,
) -> AsyncIterator[Threaded]:
    with open_registry(address, keychain=lambda _registry: credentials, retries=retries) as registry:
        yield Threaded(registry.repository(name, push=push))


@asynccontextmanager
async def served(handler: Handler) -> AsyncIterator[str]:
    """Yield the address of a server that answers everything with `handler`."""
    app = web.Application(client_max_size=0)
    app.router.add_route("*", "/{tail:.*}", handler)
    async with TestServer(app, host="127.0.0.1") as server:
        yield f"127.0.0.1:{server.port}"


def descriptor(content: bytes) -> Descriptor:
    return Descriptor(OCI_LAYER, digest_of(content), len(content), {})


def manifest_of(config: bytes, *layers: bytes) -> Document:
    content: Json = {
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "config": {"mediaType": OCI_CONFIG, "digest": digest_of(config), "size": len(config)},
        "layers": [{"mediaType": OCI_LAYER, "digest": digest_of(one), "size": len(one)} for one in layers],
    }
    return Document.of(OCI_MANIFEST, content)


@pytest.fixture(scope="module")
def locked_registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    require("docker-registry")
    directory = tmp_path_factory.mktemp("locked")
    with Registry.start(directory, htpasswd=dict([LOGIN])) as started:
        push_image(started.url, "lab/locked", "v1", credentials=LOGIN)
        yield started


@pytest.fixture
def tokens(tmp_path: Path) -> Iterator[TokenServer]:
    with token_server(tmp_path) as started:
        yield started


@pytest.fixture
def token_registry(tmp_path: Path, tokens: TokenServer) -> Iterator[Registry]:
    require("docker-registry")
    (tmp_path / "registry").mkdir()
    with Registry.start(tmp_path / "registry", extra_config=tokens.registry_config()) as started:
        yield started


async def test_what_was_uploaded_is_read_back(registry: Registry, tmp_path: Path) -> None:
    content = os.urandom(3 * 1024 * 1024 + 1)
    (tmp_path / "blob").write_bytes(content)
    blob = descriptor(content)
    sent: list[int] = []
    received: list[int] = []
    async with opened(registry.address, "client/blobs") as repository:
        assert not await repository.has_blob(blob.digest)
        assert await repository.upload(blob, tmp_path / "blob", advance=sent.append)
        assert await repository.has_blob(blob.digest)
        assert await repository.blob(blob.digest, limit=len(content)) == content
        with (tmp_path / "back").open("w+b") as file:
            await repository.download(blob, file, received.append)
    assert (tmp_path / "back").read_bytes() == content
    assert sum(sent) == sum(received) == len(content)


async def test_an_empty_blob_can_be_uploaded(registry: Registry) -> None:
    async with opened(registry.address, "client/empty") as repository:
        await repository.upload(descriptor(b""), b"")
        assert await repository.blob(digest_of(b""), limit=0) == b""


async def test_a_manifest_is_found_by_tag_and_by_digest(registry: Registry) -> None:
    manifest = manifest_of(b"{}", b"layer")
    async with opened(registry.address, "client/manifests") as repository:
        for content in (b"{}", b"layer"):
            await repository.upload(descriptor(content), content)
        await repository.put_manifest(manifest, "v1")
        assert await repository.manifest("v1") == manifest
        assert await repository.manifest(manifest.digest) == manifest
        for name in ("v1", manifest.digest):
            found = await repository.resolve(name)
            assert (found.digest, found.media_type) == (manifest.digest, OCI_MANIFEST)
            assert found.size == len(manifest.body)


async def test_what_is_not_there_is_an_error_that_names_it(registry: Registry) -> None:
    async with opened(registry.address, "client/none") as repository:
        with pytest.raises(RegistryError) as failed:
            await repository.manifest("v1")
    error = failed.value
    url = f"{registry.url}/v2/client/none/manifests/v1"
    assert str(error) == f"GET {url}: 404 MANIFEST_UNKNOWN: manifest unknown"
    assert (error.method, error.url, error.status, error.code) == ("GET", url, 404, "MANIFEST_UNKNOWN")
    assert not error.temporary


async def test_a_blob_of_a_neighbour_is_mounted_without_travelling(registry: Registry) -> None:
    content = b"mounted"
    async with opened(registry.address, "client/from") as repository:
        await repository.upload(descriptor(content), content)
    before = len(registry.requests())
    async with opened(registry.address, "client/to") as repository:
        assert not await repository.upload(descriptor(content), content, mount_from="client/from")
        assert await repository.has_blob(digest_of(content))
    assert "PUT" not in [request.method for request in registry.requests()[before:]]


async def test_what_cannot_be_mounted_is_uploaded(registry: Registry) -> None:
    content = b"not at the neighbour's"
    async with opened(registry.address, "client/alone") as repository:
        assert await repository.upload(descriptor(content), content, mount_from="client/nobody")
        assert await repository.has_blob(digest_of(content))


async def test_the_registry_refuses_content_of_another_digest(registry: Registry) -> None:
    wrong = Descriptor(OCI_LAYER, digest_of(b"promised"), 5, {})
    async with opened(registry.address, "client/wrong") as repository:
        with pytest.raises(RegistryError) as failed:
            await repository.upload(wrong, b"other")
    assert (failed.value.status, failed.value.code) == (400, "DIGEST_INVALID")
    assert "_state" not in str(failed.value)


async def test_a_blob_beyond_the_limit_is_not_read(registry: Registry) -> None:
    async with opened(registry.address, "client/limit") as repository:
        await repository.upload(descriptor(b"12345"), b"12345")
        with pytest.raises(RegistryError, match="more than 4 bytes"):
            await repository.blob(digest_of(b"12345"), limit=4)


async def test_basic_takes_the_login(locked_registry: Registry) -> None:
    async with opened(locked_registry.address, "lab/locked", credentials=ANN) as repository:
        assert (await repository.manifest("v1")).media_type == OCI_INDEX
        assert await repository.upload(descriptor(b"secret"), b"secret")


async def test_basic_without_a_login_says_how_to_log_in(locked_registry: Registry) -> None:
    async with opened(locked_registry.address, "lab/locked") as repository:
        with pytest.raises(AuthError, match=f"run 'twodfs login {locked_registry.address}' first"):
            await repository.manifest("v1")


async def test_a_wrong_password_is_refused_once(locked_registry: Registry) -> None:
    wrong = Credentials(LOGIN[0], "wr0ng")
    before = len(locked_registry.requests())
    async with opened(locked_registry.address, "lab/locked", credentials=wrong) as repository:
        with pytest.raises(RegistryError) as failed:
            await repository.manifest("v1")
    assert (failed.value.status, failed.value.code) == (401, "UNAUTHORIZED")
    assert "wr0ng" not in str(failed.value)
    assert len(locked_registry.requests()) - before == 2


async def test_one_token_serves_a_whole_push_and_pull(token_registry: Registry, tokens: TokenServer) -> None:
    manifest = manifest_of(b"{}", b"layer")
    async with opened(token_registry.address, "private/a", credentials=ANN) as repository:
        for content in (b"{}", b"layer"):
            await repository.upload(descriptor(content), content)
        await repository.put_manifest(manifest, "v1")
        assert await repository.manifest("v1") == manifest
    (asked,) = tokens.requests
    assert (asked.method, asked.parameters["account"]) == ("GET", ["ann"])
    assert asked.parameters["scope"] == ["repository:private/a:pull,push"]


async def test_an_identity_token_gets_a_token_too(token_registry: Registry, tokens: TokenServer) -> None:
    credentials = Credentials(identity_token=IDENTITY_TOKEN)
    async with opened(token_registry.address, "private/b", credentials=credentials) as repository:
        await repository.upload(descriptor(b"blob"), b"blob")
    assert [asked.method for asked in tokens.requests] == ["POST"]


async def test_anyone_reads_what_is_public_and_no_more(token_registry: Registry) -> None:
    for name in ("public/a", "private/a"):
        async with opened(token_registry.address, name, credentials=ANN) as repository:
            await repository.upload(descriptor(b"blob"), b"blob")
    async with opened(token_registry.address, "public/a", push=False) as repository:
        assert await repository.blob(digest_of(b"blob"), limit=4) == b"blob"
    async with opened(token_registry.address, "private/a", push=False) as repository:
        with pytest.raises(RegistryError) as failed:
            await repository.blob(digest_of(b"blob"), limit=4)
    assert failed.value.status == 401


async def test_a_login_that_the_token_server_refuses_says_so(token_registry: Registry) -> None:
    wrong = Credentials("ann", "wr0ng")
    async with opened(token_registry.address, "private/a", credentials=wrong) as repository:
        with pytest.raises(AuthError, match=r"the token server 127\.0\.0\.1 refused .* \(401\)"):
            await repository.has_blob(digest_of(b"blob"))


async def test_mounting_asks_for_the_neighbour_too(token_registry: Registry, tokens: TokenServer) -> None:
    async with opened(token_registry.address, "private/from", credentials=ANN) as repository:
        await repository.upload(descriptor(b"blob"), b"blob")
    async with opened(token_registry.address, "private/to", credentials=ANN) as repository:
        assert not await repository.upload(descriptor(b"blob"), b"blob", mount_from="private/from")
    scopes = ["repository:private/to:pull,push", "repository:private/from:pull"]
    assert tokens.requests[-1].parameters["scope"] == scopes


async def test_what_must_not_be_mounted_is_uploaded(token_registry: Registry) -> None:
    async with opened(token_registry.address, "private/from", credentials=ANN) as repository:
        await repository.upload(descriptor(b"blob"), b"blob")
    async with opened(token_registry.address, "bob/to", credentials=Credentials(*OTHER_LOGIN)) as repository:
        assert await repository.upload(descriptor(b"blob"), b"blob", mount_from="private/from")
        assert await repository.has_blob(digest_of(b"blob"))


@pytest.mark.parametrize("status", [429, 500, 502, 503, 504])
async def test_a_registry_that_fails_for_the_moment_is_asked_again(status: int) -> None:
    manifest = manifest_of(b"{}")
    asked: list[str] = []

    async def answer(request: web.Request) -> web.Response:
        asked.append(request.path)
        if len(asked) < 4:
            return web.Response(status=status, headers={"Retry-After": "3600"})
        return web.Response(body=manifest.body, content_type=manifest.media_type)

    async with served(answer) as address, opened(address, "a") as repository:
        assert await repository.manifest("v1") == manifest
    assert len(asked) == 4


async def test_patience_ends_and_the_error_says_that_it_may_pass() -> None:
    asked: list[str] = []

    async def answer(request: web.Request) -> web.Response:
        asked.append(request.path)
        return web.json_response(
            {"errors": [{"code": "TOOMANYREQUESTS", "message": "slow\r\ndown"}]},
            status=429,
            headers={"Retry-After": "7"},
        )

    async with served(answer) as address, opened(address, "a") as repository:
        with pytest.raises(RegistryError) as failed:
            await repository.manifest("v1")
    assert (failed.value.temporary, failed.value.retry_after, len(asked)) == (True, 7.0, 4)
    assert str(failed.value).endswith("429 TOOMANYREQUESTS: slow down")


@pytest.mark.parametrize("status", [400, 403, 404, 405])
async def test_a_refusal_is_not_asked_again(status: int) -> None:
    asked: list[str] = []

    async def answer(request: web.Request) -> web.Response:
        asked.append(request.path)
        return web.Response(status=status, text="<html>" * 100_000)

    async with served(answer) as address, opened(address, "a") as repository:
        with pytest.raises(RegistryError) as failed:
            await repository.manifest("v1")
    assert (failed.value.status, failed.value.temporary, len(asked)) == (status, False, 1)
    assert len(str(failed.value)) < 200


async def test_nobody_at_the_address_is_an_error_that_says_so() -> None:
    async with opened("127.0.0.1:1", "a") as repository:
        with pytest.raises(RegistryError, match="cannot connect") as failed:
            await repository.manifest("v1")
    assert (failed.value.status, failed.value.temporary) == (None, True)


async def test_a_download_that_breaks_begins_again(tmp_path: Path) -> None:
    content = os.urandom(100_000)
    asked: list[str] = []

    async def answer(request: web.Request) -> web.StreamResponse:
        asked.append(request.path)
        response = web.StreamResponse(headers={"Content-Length": str(len(content))})
        await response.prepare(request)
        await response.write(content if len(asked) > 1 else content[:50_000])
        if len(asked) == 1 and request.transport:
            request.transport.close()
        return response

    advanced: list[int] = []
    async with served(answer) as address, opened(address, "a") as repository:
        with (tmp_path / "blob").open("w+b") as file:
            await repository.download(descriptor(content), file, advanced.append)
    assert (tmp_path / "blob").read_bytes() == content
    assert (sum(advanced), len(asked)) == (len(content), 2)


@pytest.mark.parametrize("sent", [b"", b"shor", b"other", b"longer"])
async def test_a_download_of_anything_else_fails(sent: bytes) -> None:
    async def answer(_request: web.Request) -> web.Response:
        return web.Response(body=sent)

    async with served(answer) as address, opened(address, "a") as repository:
        with pytest.raises((DigestError, RegistryError)):
            await repository.download(descriptor(b"right"), io.BytesIO())


async def test_a_manifest_that_is_not_its_digests_is_refused() -> None:
    async def answer(_request: web.Request) -> web.Response:
        headers = {"Docker-Content-Digest": digest_of(b"another")}
        return web.Response(body=b"{}", content_type=OCI_MANIFEST, headers=headers)

    async with served(answer) as address, opened(address, "a") as repository:
        for name in ("v1", digest_of(b"another")):
            with pytest.raises(DigestError, match="does not hash to"):
                await repository.manifest(name)


async def test_a_manifest_without_an_end_is_cut_off() -> None:
    async def answer(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": OCI_MANIFEST})
        await response.prepare(request)
        for _ in range(2 * MAX_MANIFEST_BYTES // 65536):
            await response.write(b" " * 65536)
        return response

    async with served(answer) as address, opened(address, "a") as repository:
        with pytest.raises(RegistryError, match=f"more than {MAX_MANIFEST_BYTES} bytes"):
            await repository.manifest("v1")


async def test_a_head_that_says_nothing_is_followed_by_a_get() -> None:
    manifest = manifest_of(b"{}")

    async def answer(request: web.Request) -> web.Response:
        body = manifest.body if request.method == "GET" else b""
        return web.Response(body=body, content_type="application/json")

    async with served(answer) as address, opened(address, "a") as repository:
        found = await repository.resolve("v1")
    assert (found.digest, found.media_type, found.size) == (
        manifest.digest,
        OCI_MANIFEST,
        len(manifest.body),
    )


async def test_credentials_stay_with_the_registry_when_it_redirects() -> None:
    elsewhere: list[str | None] = []

    async def storage(request: web.Request) -> web.Response:
        elsewhere.append(request.headers.get("Authorization"))
        assert request.raw_path == "/bucket/blob%3D?signature=a%2Bb%3D"
        return web.Response(body=b"content")

    async with served(storage) as bucket:

        async def answer(request: web.Request) -> web.Response:
            if "Authorization" not in request.headers:
                return web.Response(status=401, headers={"WWW-Authenticate": 'Basic realm="x"'})
            location = f"http://{bucket}/bucket/blob%3D?signature=a%2Bb%3D"
            return web.Response(status=307, headers={"Location": location})

        async with served(answer) as address, opened(address, "a", credentials=ANN) as repository:
            assert await repository.blob(digest_of(b"content"), limit=10) == b"content"
    assert elsewhere == [None]


async def test_a_challenge_from_elsewhere_gets_no_credentials() -> None:
    elsewhere: list[str | None] = []

    async def storage(request: web.Request) -> web.Response:
        elsewhere.append(request.headers.get("Authorization"))
        return web.Response(status=401, headers={"WWW-Authenticate": 'Basic realm="x"'})

    async with served(storage) as bucket:

        async def answer(_request: web.Request) -> web.Response:
            return web.Response(status=307, headers={"Location": f"http://{bucket}/blob"})

        async with served(answer) as address, opened(address, "a", credentials=ANN) as repository:
            with pytest.raises(RegistryError) as failed:
                await repository.blob(digest_of(b"content"), limit=10)
    assert (failed.value.status, elsewhere) == (401, [None])


async def test_redirects_without_end_are_given_up() -> None:
    async def answer(request: web.Request) -> web.Response:
        return web.Response(status=302, headers={"Location": str(request.rel_url)})

    async with served(answer) as address, opened(address, "a") as repository:
        with pytest.raises(RegistryError, match="redirected more than 5 times"):
            await repository.manifest("v1")


@pytest.mark.parametrize("absolute", [True, False])
@pytest.mark.parametrize("state", ["", "?_state=a%2Bb%3D%3D"])
async def test_an_upload_goes_where_the_registry_says(absolute: bool, state: str) -> None:  # noqa: FBT001
    stored: dict[str, bytes] = {}

    async def answer(request: web.Request) -> web.Response:
        if request.method == "POST":
            start = f"http://{request.host}" if absolute else ""
            return web.Response(status=202, headers={"Location": f"{start}/elsewhere/up{state}"})
        assert request.headers["Content-Length"] == "7"
        stored[request.raw_path] = await request.content.read()
        return web.Response(status=201)

    content = b"content"
    async with served(answer) as address, opened(address, "a") as repository:
        await repository.upload(descriptor(content), content)
    joint = "&" if state else "?"
    digest = digest_of(content).replace(":", "%3A")
    assert stored == {f"/elsewhere/up{state}{joint}digest={digest}": content}


async def test_an_upload_that_breaks_begins_again_from_its_start(tmp_path: Path) -> None:
    content = os.urandom(2_000_000)
    (tmp_path / "blob").write_bytes(content)
    bodies: list[bytes] = []
    advanced: list[int] = []

    async def answer(request: web.Request) -> web.Response:
        if request.method == "POST":
            return web.Response(status=202, headers={"Location": f"/up/{len(bodies)}"})
        bodies.append(await request.content.read())
        return web.Response(status=201 if len(bodies) == 3 else 503)

    async with served(answer) as address, opened(address, "a") as repository:
        await repository.upload(descriptor(content), tmp_path / "blob", advance=advanced.append)
    assert bodies == [content] * 3
    assert sum(advanced) == len(content)


async def test_each_step_of_an_upload_has_attempts_of_its_own() -> None:
    seen: list[str] = []

    async def answer(request: web.Request) -> web.Response:
        seen.append(request.method)
        await request.read()
        if seen in (["POST"], ["POST", "POST", "PUT"]):
            return web.Response(status=500)
        return web.Response(status=202 if request.method == "POST" else 201, headers={"Location": "/up"})

    twice = Retries(attempts=2, first_delay=0)
    async with served(answer) as address, opened(address, "a", retries=twice) as repository:
        await repository.upload(descriptor(b"content"), b"content")
    assert seen == ["POST", "POST", "PUT", "POST", "PUT"]


@pytest.mark.parametrize(("ahead", "least", "most"), [(3600, 3000, 3600), (-3600, 0, 0)])
async def test_a_registry_may_say_when_to_come_back_by_the_clock(ahead: int, least: int, most: int) -> None:
    when = email.utils.formatdate(time.time() + ahead, usegmt=True)

    async def answer(_: web.Request) -> web.Response:
        return web.Response(status=429, headers={"Retry-After": when})

    once = Retries(attempts=1)
    async with served(answer) as address, opened(address, "a", retries=once) as repository:
        with pytest.raises(RegistryError) as failed:
            await repository.manifest("v1")
    assert failed.value.retry_after is not None
    assert least <= failed.value.retry_after <= most


def test_delays_grow_and_are_bounded_and_no_two_alike() -> None:
    retries = Retries()
    longest = [0.3, 0.6, 1.2, 2.4, 4.8, 9.6, 19.2, 20, 20]
    for attempt, most in enumerate(longest):
        delays = {retries.delay(attempt, None) for _ in range(50)}
        assert most / 2 <= min(delays) < max(delays) <= most
    assert [retries.delay(0, asked, lambda: 1) for asked in (0, 7, 3600)] == [0.3, 7.3, 20.3]


async def test_nobody_at_an_address_that_has_never_answered_is_not_asked_for_long() -> None:
    patient = Retries(attempts=100_000_000, first_attempts=2, first_delay=0)
    async with opened("127.0.0.1:1", "a", retries=patient) as repository:
        with pytest.raises(RegistryError, match="cannot connect"):
            await repository.manifest("v1")


async def test_a_registry_that_stores_other_bytes_is_caught() -> None:
    async def answer(_request: web.Request) -> web.Response:
        return web.Response(status=201, headers={"Docker-Content-Digest": digest_of(b"other")})

    async with served(answer) as address, opened(address, "a") as repository:
        with pytest.raises(RegistryError, match=f"made {digest_of(b'other')} of the manifest"):
            await repository.put_manifest(manifest_of(b"{}"), "v1")


async def test_requests_ask_for_the_bytes_as_they_are() -> None:
    seen: list[tuple[str, str]] = []

    async def answer(request: web.Request) -> web.Response:
        seen.append((request.headers["Accept-Encoding"], request.headers["User-Agent"].partition("/")[0]))
        return web.Response(body=b"x", headers={"Content-Encoding": "gzip"})

    async with served(answer) as address, opened(address, "a") as repository:
        assert await repository.blob(digest_of(b"x"), limit=1) == b"x"
    assert seen == [("identity", "twodfs")]


def test_the_way_out_of_tls_is_not_taken() -> None:
    request = Request("GET", "https://registry.example.com/v2/a/blobs/x")
    with pytest.raises(RegistryError, match="away from TLS; not followed"):
        located(request, request.url, "http://registry.example.com/x?secret=1")


@pytest.mark.parametrize("location", ["ftp://x/y", "file:///etc/passwd", "gopher://x"])
@pytest.mark.parametrize("scheme", ["http", "https"])
def test_what_is_no_http_address_is_told_as_that(scheme: str, location: str) -> None:
    request = Request("GET", f"{scheme}://registry.example.com/v2/a/blobs/x")
    with pytest.raises(RegistryError, match=rf"sends us to {location[:5]}.* no http\(s\) address; not followed"):
        located(request, request.url, location)


@pytest.mark.parametrize(
    ("registry", "plain_http", "origin"),
    [
        ("docker.io", False, "https://registry-1.docker.io"),
        ("ghcr.io", False, "https://ghcr.io"),
        ("ghcr.io", True, "http://ghcr.io"),
        ("127.0.0.1:5000", False, "http://127.0.0.1:5000"),
        ("localhost", False, "http://localhost"),
        ("[::1]:5000", False, "http://[::1]:5000"),
    ],
)
def test_plain_http_is_for_this_machine_or_on_demand(
    registry: str,
    plain_http: bool,  # noqa: FBT001
    origin: str,
) -> None:
    transport = Transport(
        ConnectionPool(), registry, plain_http=plain_http, keychain=lambda _registry: None, retries=AT_ONCE
    )
    assert transport.url == origin


async def test_a_registry_that_hangs_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("twodfs.registry.exchange.IDLE_SECONDS", 0.1)
    asked: list[str] = []
    over = asyncio.Event()

    async def answer(request: web.Request) -> web.Response:
        asked.append(request.path)
        await over.wait()
        return web.Response()

    async with served(answer) as address, opened(address, "a") as repository:
        with pytest.raises(RegistryError, match="does not answer in time") as failed:
            await repository.manifest("v1")
        over.set()
    assert (failed.value.temporary, len(asked)) == (True, 4)


@pytest.mark.parametrize("path", ["/token", "/v2/a/blobs/uploads/"])
async def test_a_post_that_hangs_is_given_up_as_soon_as_any_question(
    monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    monkeypatch.setattr("twodfs.registry.exchange.IDLE_SECONDS", 0.1)
    hung: list[str] = []
    over = asyncio.Event()

    async def answer(request: web.Request) -> web.Response:
        if request.path == path:
            hung.append(request.method)
            await over.wait()
        if "Authorization" not in request.headers and request.path != "/token":
            realm = f'Bearer realm="http://{request.host}/token",service="lab"'
            return web.Response(status=401, headers={"WWW-Authenticate": realm})
        return web.json_response({"token": "t"})

    who = Credentials(identity_token="it")
    async with served(answer) as address, opened(address, "a", credentials=who) as repository:
        with pytest.raises(RegistryError, match="does not answer in time"):
            await repository.upload(descriptor(b"content"), b"content")
        over.set()
    assert hung == ["POST"] * AT_ONCE.attempts


async def test_an_upload_that_the_registry_stops_reading_is_given_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("twodfs.registry.exchange.IDLE_SECONDS", 0.2)
    size = 32 * 1024 * 1024
    with (tmp_path / "blob").open("wb") as file:
        file.truncate(size)
    blob = Descriptor(OCI_LAYER, digest_of(b"never asked for"), size, {})
    advanced: list[int] = []
    over = asyncio.Event()

    async def answer(request: web.Request) -> web.Response:
        if request.method == "PATCH":
            await over.wait()
        is_known = request.method == "POST"
        return web.Response(status=202, headers={"Location": "/up"}) if is_known else web.Response(status=404)

    async with served(answer) as address, opened(address, "a") as repository:
        with pytest.raises(RegistryError, match="does not answer in time"):
            await repository.upload(blob, tmp_path / "blob", advance=advanced.append)
        over.set()
    assert sum(advanced) == 0


async def test_parts_of_a_blob_are_those_of_the_whole(registry: Registry) -> None:
    content = os.urandom(100_000)
    async with opened(registry.address, "client/parts") as repository:
        await repository.upload(descriptor(content), content)
        for begin, size in ((0, 10), (5, 1000), (99_990, 100), (0, 200_000), (100_000, 10)):
            assert await repository.part(digest_of(content), begin, size) == content[begin : begin + size]
        with pytest.raises(RegistryError, match="404"):
            await repository.part(digest_of(b"absent"), 0, 10)


@pytest.mark.parametrize("answered", ["whole", "other"])
async def test_a_registry_without_parts_gives_the_first_alone(answered: str) -> None:
    content = os.urandom(1_000_000)

    async def handler(request: web.Request) -> web.StreamResponse:
        if answered == "whole" or "blobs" not in request.path:
            return web.Response(body=content)
        return web.Response(status=206, body=content[:10], headers={"Content-Range": "bytes 7-16/1000000"})

    async with served(handler) as address, opened(address, "client/none") as repository:
        if answered == "whole":
            assert await repository.part(digest_of(content), 0, 10) == content[:10]
        for begin in (0, 5) if answered == "other" else (5,):
            with pytest.raises(RegistryError, match="the registry gives no parts of blobs"):
                await repository.part(digest_of(content), begin, 10)
