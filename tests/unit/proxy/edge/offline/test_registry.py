"""The registry with a disk behind it: who gets which answer when the registry gives none."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
from aiohttp import web
from structlog.testing import capture_logs

from proxy.auth.identity import Identity
from proxy.edge.offline.registry import EdgeRegistry
from proxy.metrics.catalogue import EDGE_STALE
from proxy.upstream.replies import Reply, UpstreamError
from tests.lab.edge_registry import Edge, edge
from tests.lab.fake_registry import FakeRegistry, served, serving, until
from tests.lab.images import build_image
from tests.lab.layers import Blob
from tests.lab.partition_requests import CELLS, IMAGE
from twodfs.oci.digest import digest_of
from twodfs.oci.documents import ACCEPT_IMAGES, MAX_MANIFEST_BYTES, OCI_INDEX

ALICE, BOB = (Identity.of({"Authorization": f"Bearer {name}"}) for name in ("alice", "bob"))
TAG = "/v2/team/model/manifests/v1"
BY_DIGEST = f"/v2/team/model/manifests/{IMAGE.digest}"
CONFIG = next(blob for blob in IMAGE.blobs if b"architecture" in blob.content)
CONFIG_PATH = f"/v2/team/model/blobs/{CONFIG.digest}"
REFERRERS = f"/v2/team/model/referrers/{IMAGE.digest}"
SIGNATURE = f"/v2/team/model/manifests/{IMAGE.digest.replace(':', '-')}.sig"
NEWER = build_image(CELLS | {(0, 0): {"0/0": b"newer"}}, platforms=("linux/amd64",))
OWN = {
    "upstream__credentials__kind": "static",
    "upstream__credentials__username": "proxy",
    "upstream__credentials__password": "secret",
    "auth__clients__allow_anonymous": "true",
}
UNKNOWN = {"errors": [{"code": "MANIFEST_UNKNOWN", "message": "manifest unknown"}]}

Outage = Callable[[web.Request], web.StreamResponse]


@dataclass
class Moody:
    """A registry whose answers a test replaces."""

    registry: FakeRegistry
    outage: Outage | None = None
    is_silent: bool = False
    referrers: bytes = b'{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[]}'
    released: asyncio.Event = field(default_factory=asyncio.Event)

    async def answer(self, request: web.Request) -> web.StreamResponse | None:
        if self.is_silent:
            await self.released.wait()
        if self.outage is not None:
            return self.outage(request)
        if request.headers.get("Authorization") == "Bearer bob":
            return web.json_response({"errors": [{"code": "DENIED"}]}, status=403)
        if "/referrers/" in request.path:
            return web.Response(body=self.referrers, content_type=OCI_INDEX)
        if request.path.endswith(".sig"):
            return web.json_response(UNKNOWN, status=404)
        found = self.registry.content(request)
        if found is not None and "Docker-Content-Digest" in found.headers:
            tag = f'"{found.headers["Docker-Content-Digest"]}"'
            if request.headers.get("If-None-Match") == tag:
                return web.Response(status=304, headers={"ETag": tag})
            found.headers["ETag"] = tag
        return found

    def asked(self) -> list[tuple[str, str]]:
        asked = [(one.method, one.path) for one in self.registry.requests]
        self.registry.requests.clear()
        return asked


@pytest.fixture
async def moody() -> AsyncIterator[Moody]:
    moody = Moody(FakeRegistry(IMAGE))
    moody.registry.interpose = moody.answer
    async with serving(moody.registry):
        yield moody
        moody.released.set()


@pytest.fixture
async def node(moody: Moody, tmp_path: Path) -> AsyncIterator[Edge]:
    async with edge(moody.registry.url, tmp_path, edge__offline_after="0.3") as opened:
        yield opened


@pytest.fixture
def registry(node: Edge) -> EdgeRegistry:
    return node.registry


async def get(registry: EdgeRegistry, path: str = TAG, identity: Identity = ALICE) -> Reply:
    return await registry.get(path, identity, limit=MAX_MANIFEST_BYTES, accept=ACCEPT_IMAGES)


async def brought(node: Edge, path: str) -> bytes:
    """Get something for Alice, and wait until it is on disk."""
    body = (await get(node.registry, path)).body
    await until(lambda: node.store.blobs.has(digest_of(body)))
    return body


async def head(registry: EdgeRegistry, path: str = TAG, identity: Identity = ALICE) -> Reply:
    return await registry.head(path, identity, ACCEPT_IMAGES)


async def refusal(asking: "asyncio.Future[Reply] | object") -> str:
    with pytest.raises(UpstreamError) as raised:
        await asking  # type: ignore[misc]
    assert raised.value.status == 503
    return str(raised.value)


def page(status: int) -> Outage:
    return lambda _: web.Response(status=status, text="<html>Be right back</html>", content_type="text/html")


def oci(status: int, code: str) -> Outage:
    return lambda _: web.json_response({"errors": [{"code": code}]}, status=status)


def cut_off(request: web.Request) -> web.StreamResponse:
    assert request.transport is not None
    request.transport.abort()
    return web.Response()


OUTAGES: dict[str, Outage] = {
    "500": page(500),
    "503": oci(503, "UNAVAILABLE"),
    "429": lambda _: web.Response(status=429, headers={"Retry-After": "60"}),
    "404 page": page(404),
    "410 page": page(410),
    "200 page": page(200),
    "broken off": cut_off,
    "redirected": lambda _: web.Response(status=302, headers={"Location": "https://portal.invalid/login"}),
}


async def test_a_tag_is_asked_for_once_each_time_and_its_document_crosses_the_line_once(
    registry: EdgeRegistry, moody: Moody
) -> None:
    first = await get(registry)
    assert (first.status, first.body, first.is_stale) == (200, IMAGE.top.content, False)
    again = await get(registry)
    assert (again.status, again.body, again.media_type) == (200, IMAGE.top.content, IMAGE.top.media_type)
    assert moody.asked() == [("GET", TAG), ("GET", TAG)]
    assert not again.is_stale


@pytest.mark.parametrize("outage", OUTAGES.values(), ids=OUTAGES)
@pytest.mark.parametrize("method", ["GET", "HEAD"])
async def test_a_tag_is_what_it_was_last_while_the_registry_gives_no_answer(
    registry: EdgeRegistry, moody: Moody, outage: Outage, method: str
) -> None:
    ask = get if method == "GET" else head
    before = await ask(registry)
    counted = EDGE_STALE.of("tag").value
    moody.outage = outage
    for _ in range(2):
        last = await ask(registry)
        assert (last.status, last.body, last.media_type) == (200, before.body, IMAGE.top.media_type)
        assert last.headers["Docker-Content-Digest"] == IMAGE.digest
        assert last.headers["Warning"] == '110 - "Response is Stale"'
        assert last.is_stale
    assert EDGE_STALE.of("tag").value == counted + 2
    moody.outage = None
    fresh = await ask(registry)
    assert not fresh.is_stale


async def test_a_tag_that_moved_is_new_on_the_next_question(registry: EdgeRegistry, moody: Moody) -> None:
    await get(registry)
    moody.outage = page(502)
    await get(registry)
    moody.outage = None
    moody.registry.image = NEWER
    assert (await get(registry)).body == NEWER.top.content
    moody.outage = page(502)
    assert (await get(registry)).body == NEWER.top.content


async def test_a_tag_known_by_its_head_alone_is_known_and_its_document_is_named_as_missing(
    registry: EdgeRegistry, moody: Moody
) -> None:
    await head(registry)
    moody.outage = page(500)
    assert (await head(registry)).headers["Docker-Content-Digest"] == IMAGE.digest
    assert await refusal(get(registry)) == "the registry answers 500, and v1 of team/model is not on this node"


async def test_a_deletion_counts_when_the_registry_says_it_as_a_registry(registry: EdgeRegistry, moody: Moody) -> None:
    await get(registry)
    moody.outage = oci(404, "MANIFEST_UNKNOWN")
    assert (await head(registry)).status == 404
    assert (await get(registry)).status == 404
    moody.outage = page(500)
    gone = await get(registry)
    assert (gone.status, gone.is_stale) == (404, True)
    assert b"MANIFEST_UNKNOWN" in gone.body


async def test_a_stranger_cannot_make_the_node_forget_a_tag(registry: EdgeRegistry, moody: Moody) -> None:
    await get(registry)
    moody.outage = oci(404, "NAME_UNKNOWN")  # as some registries say it to who may not know
    assert (await get(registry, identity=BOB)).status == 404
    assert (await head(registry, identity=BOB)).status == 404
    moody.outage = page(500)
    assert (await get(registry)).body == IMAGE.top.content


@pytest.mark.parametrize("path", [TAG, BY_DIGEST, CONFIG_PATH])
async def test_what_one_client_brought_no_other_reads_offline(
    registry: EdgeRegistry, node: Edge, moody: Moody, path: str
) -> None:
    for known in (TAG, BY_DIGEST, CONFIG_PATH):
        await brought(node, known)
    assert (await get(registry, path, BOB)).status == 403
    moody.outage = page(500)
    assert (await get(registry, path)).status == 200
    has_it = await refusal(get(registry, path, BOB))
    assert has_it == await refusal(head(registry, path, BOB))
    nowhere = path.replace("team/model", "team/nowhere").replace("v1", "v7")
    assert has_it == await refusal(get(registry, nowhere, BOB))
    assert "your credentials were not accepted here" in has_it


async def test_content_of_another_repository_stays_there_offline(
    registry: EdgeRegistry, node: Edge, moody: Moody
) -> None:
    await brought(node, CONFIG_PATH)
    await get(registry, TAG.replace("team/model", "team/other"))
    moody.outage = page(500)
    assert "is not on this node" in await refusal(get(registry, CONFIG_PATH.replace("team/model", "team/other")))


async def test_a_no_ends_the_right_to_read_offline(registry: EdgeRegistry, moody: Moody) -> None:
    await get(registry)
    moody.outage = oci(403, "DENIED")
    assert (await head(registry)).status == 403
    moody.outage = page(500)
    assert "your credentials" in await refusal(get(registry))


async def test_a_page_that_says_403_ends_no_right(registry: EdgeRegistry, moody: Moody) -> None:
    await get(registry)
    moody.outage = page(403)
    assert (await get(registry)).status == 403
    assert (await head(registry)).status == 403
    moody.outage = page(500)
    assert (await get(registry)).is_stale


class LaterClock:
    """Stands in for the module `time`, ahead of it."""

    def __init__(self, seconds: float) -> None:
        self.time = lambda: time.time() + seconds
        self.monotonic = time.monotonic


async def test_a_right_lasts_as_long_as_it_is_set(
    registry: EdgeRegistry, moody: Moody, monkeypatch: pytest.MonkeyPatch
) -> None:
    await get(registry)
    moody.outage = page(500)
    monkeypatch.setattr("proxy.edge.rights.acceptances.time", LaterClock(86_390))
    assert (await get(registry)).is_stale
    monkeypatch.setattr("proxy.edge.rights.acceptances.time", LaterClock(86_410))
    assert "your credentials" in await refusal(get(registry))


async def test_a_tag_is_good_for_max_stale(
    registry: EdgeRegistry, moody: Moody, monkeypatch: pytest.MonkeyPatch
) -> None:
    await get(registry)
    await get(registry, BY_DIGEST)
    moody.outage = page(500)
    monkeypatch.setattr("proxy.edge.offline.answers.time", LaterClock(604_790))
    assert (await get(registry)).is_stale
    monkeypatch.setattr("proxy.edge.offline.answers.time", LaterClock(604_810))
    assert "v1 of team/model is not on this node" in await refusal(get(registry))
    assert (await get(registry, BY_DIGEST)).body == IMAGE.top.content  # content is not stale


async def test_answers_and_rights_outlive_the_process(moody: Moody, tmp_path: Path) -> None:
    async with edge(moody.registry.url, tmp_path) as node:
        await get(node.registry)
    moody.outage = page(500)
    async with edge(moody.registry.url, tmp_path) as node:
        assert (await get(node.registry)).body == IMAGE.top.content
        await refusal(get(node.registry, identity=BOB))


async def test_content_is_asked_for_once_where_the_right_is_known(
    registry: EdgeRegistry, node: Edge, moody: Moody
) -> None:
    for path in (TAG, BY_DIGEST, CONFIG_PATH):
        await brought(node, path)
    moody.asked()
    for path in (BY_DIGEST, CONFIG_PATH):
        found = await get(registry, path)
        assert (found.status, found.is_stale) == (200, False)
    assert (await get(registry, CONFIG_PATH)).body == CONFIG.content
    assert (await head(registry, CONFIG_PATH)).headers["Content-Length"] == str(CONFIG.size)
    assert moody.asked() == []
    await head(registry, BY_DIGEST)  # which asks for the registry's yes
    assert moody.asked() == [("HEAD", BY_DIGEST)]


async def test_a_right_that_is_not_known_is_asked_for_without_the_content(moody: Moody, tmp_path: Path) -> None:
    async with edge(moody.registry.url, tmp_path, auth__ttl="0") as node:
        await brought(node, CONFIG_PATH)
        moody.asked()
        assert (await get(node.registry, CONFIG_PATH)).body == CONFIG.content
        assert moody.asked() == [("HEAD", CONFIG_PATH)]


@pytest.mark.parametrize("path", [BY_DIGEST, CONFIG_PATH])
async def test_content_comes_from_disk_while_the_registry_gives_no_answer(
    moody: Moody, tmp_path: Path, path: str
) -> None:
    async with edge(moody.registry.url, tmp_path, auth__ttl="0") as node:
        await get(node.registry, TAG)
        content = await brought(node, path)
        for outage in OUTAGES.values():
            moody.outage = outage
            found = await get(node.registry, path)
            assert (found.body, found.is_stale) == (content, True)
            assert (await head(node.registry, path)).is_stale
            if path == CONFIG_PATH:
                first = await node.registry.first_byte(path, ALICE)
                assert first.headers["Content-Range"] == f"bytes 0-0/{len(content)}"


async def test_content_that_is_not_here_is_named(registry: EdgeRegistry, moody: Moody) -> None:
    await get(registry)
    moody.outage = page(500)
    told = await refusal(get(registry, CONFIG_PATH))
    assert told == f"the registry answers 500, and the blob {CONFIG.digest} of team/model is not on this node"


async def test_other_content_than_the_digest_says_is_no_answer_and_not_kept(
    registry: EdgeRegistry, node: Edge, moody: Moody
) -> None:
    moody.outage = lambda _: web.Response(body=b"other", headers={"Docker-Content-Digest": IMAGE.digest})
    for path in (TAG, BY_DIGEST, CONFIG_PATH):
        with pytest.raises(UpstreamError, match=r"other content|something else answers"):
            await get(registry, path)
    for digest in (IMAGE.digest, CONFIG.digest):
        assert not node.store.blobs.has(digest)  # type: ignore[arg-type]


async def taken(registry: EdgeRegistry, path: str, identity: Identity = ALICE) -> tuple[int, bytes]:
    body = bytearray()

    async def take(piece: bytes) -> None:
        body.extend(piece)

    reply = await registry.download(path, identity, take, limit=2**26)
    return reply.status, bytes(body)


@pytest.mark.parametrize("size", [100, 3 * 2**20])
async def test_a_field_is_kept_while_it_is_read_and_read_from_disk_then(
    registry: EdgeRegistry, node: Edge, moody: Moody, size: int
) -> None:
    large = Blob(b"%0*d" % (size, 7), "application/json")
    moody.registry.image = replace(IMAGE, blobs=(large,))
    path = f"/v2/team/model/blobs/{large.digest}"
    assert await taken(registry, path) == (200, large.content)
    await until(lambda: node.store.blobs.has(large.digest))  # type: ignore[arg-type]
    await until(lambda: not list(node.store.directory.ingest.iterdir()))
    assert moody.asked() == [("GET", path)]
    assert await taken(registry, path) == (200, large.content)
    assert moody.asked() == []
    assert await taken(registry, path, BOB) == (403, b"")
    moody.outage = page(500)
    assert await taken(registry, path) == (200, large.content)
    with pytest.raises(UpstreamError):
        await taken(registry, path, BOB)


async def test_a_field_with_other_content_is_not_kept(registry: EdgeRegistry, node: Edge, moody: Moody) -> None:
    moody.outage = lambda _: web.Response(body=b"{}" + b" " * 2**21)
    with pytest.raises(UpstreamError, match=r"did not give .* whole and right"):
        await taken(registry, CONFIG_PATH)
    assert not node.store.blobs.has(CONFIG.digest)  # type: ignore[arg-type]
    assert not list(node.store.directory.ingest.iterdir())


async def test_a_document_longer_than_it_may_be_is_told_so_and_is_no_outage(
    registry: EdgeRegistry, node: Edge, moody: Moody
) -> None:
    assert not node.store.blobs.has(CONFIG.digest)  # type: ignore[arg-type]
    for path in (CONFIG_PATH, BY_DIGEST, TAG):
        with pytest.raises(UpstreamError, match="longer than 10 bytes") as raised:
            await registry.get(path, ALICE, limit=10, accept=ACCEPT_IMAGES)
        assert raised.value.status == 502
    assert not moody.outage


async def test_a_document_that_several_want_crosses_the_line_once_and_each_is_asked_for_its_right(
    registry: EdgeRegistry, moody: Moody
) -> None:
    carol = Identity.of({"Authorization": "Bearer carol"})
    answers = await asyncio.gather(*(taken(registry, CONFIG_PATH, who) for who in (ALICE, carol, BOB)))
    assert answers == [(200, CONFIG.content), (200, CONFIG.content), (403, b"")]
    asked = [(one.method, one.headers["Authorization"]) for one in moody.registry.requests]
    assert [method for method, who in asked if who != "Bearer bob"].count("GET") == 1
    assert {who for _, who in asked} == {"Bearer alice", "Bearer carol", "Bearer bob"}


async def test_lists_of_referrers_and_their_absence_are_remembered(registry: EdgeRegistry, moody: Moody) -> None:
    await get(registry)
    await get(registry, REFERRERS)
    assert (await get(registry, SIGNATURE)).status == 404
    moody.outage = page(500)
    listed = await get(registry, REFERRERS)
    assert (listed.body, listed.media_type, listed.is_stale) == (moody.referrers, OCI_INDEX, True)
    unsigned = await get(registry, SIGNATURE)
    assert (unsigned.status, unsigned.is_stale) == (404, True)
    assert "the list of referrers of" in await refusal(get(registry, f"{REFERRERS}?artifactType=a"))


async def test_a_registry_without_the_referrers_api_says_so_in_its_own_words(
    registry: EdgeRegistry, moody: Moody
) -> None:
    await get(registry)
    moody.outage = lambda _: web.Response(status=404, text="404 page not found")
    assert (await get(registry, REFERRERS)).status == 404
    moody.outage = page(500)
    assert (await get(registry, REFERRERS)).body == b"404 page not found"


async def test_the_greeting_is_remembered_for_each_clients_credentials(registry: EdgeRegistry, moody: Moody) -> None:
    nobody = Identity.of({})

    def guarded(request: web.Request) -> web.Response:
        if request.headers.get("Authorization") == "Bearer alice":
            return web.Response()
        return web.json_response({}, status=401, headers={"WWW-Authenticate": 'Basic realm="r"'})

    moody.outage = guarded
    assert (await get(registry, "/v2/", nobody)).status == 401
    assert (await get(registry, "/v2/")).status == 200
    moody.outage = page(503)
    asked = await get(registry, "/v2/", nobody)
    assert (asked.status, asked.headers["WWW-Authenticate"]) == (401, 'Basic realm="r"')
    assert (await get(registry, "/v2/")).status == 200
    assert "its greeting is not on this node" in await refusal(get(registry, "/v2/", BOB))


async def test_a_registry_that_hangs_costs_all_clients_together_one_short_time_out(
    registry: EdgeRegistry, moody: Moody
) -> None:
    await get(registry)
    moody.is_silent = True
    started = time.monotonic()
    for reply in await asyncio.gather(*(get(registry) for _ in range(20))):
        assert reply.is_stale
    assert 0.3 <= time.monotonic() - started < 0.6
    assert registry.is_offline
    started = time.monotonic()
    for _ in range(20):
        assert (await get(registry)).is_stale
    assert time.monotonic() - started < 0.2
    moody.is_silent = False
    moody.released.set()
    await until(lambda: not registry.is_offline)
    assert not (await get(registry)).is_stale


async def test_what_is_not_here_waits_for_the_probe_and_no_longer(registry: EdgeRegistry, moody: Moody) -> None:
    await get(registry)
    moody.is_silent = True
    await get(registry)
    started = time.monotonic()
    assert "is not on this node" in await refusal(get(registry, CONFIG_PATH))
    assert time.monotonic() - started < 2
    moody.is_silent = False
    moody.released.set()
    assert (await get(registry, CONFIG_PATH)).body == CONFIG.content


async def test_a_registry_that_refuses_connections_is_tried_each_time(tmp_path: Path) -> None:
    """So the first question after it is back has its answer."""
    registry = FakeRegistry(IMAGE)
    async with serving(registry):
        port = int(registry.url.rpartition(":")[2])
        async with edge(registry.url, tmp_path) as node:
            await get(node.registry)
    async with edge(registry.url, tmp_path) as node:
        for _ in range(3):
            assert (await get(node.registry)).is_stale
        assert not node.registry.is_offline
        async with served(registry.answer, port=port):
            assert not (await get(node.registry)).is_stale


@pytest.mark.parametrize(("retry_after", "asked"), [("0", 2), ("60", 1)])
async def test_a_registry_without_time_is_asked_once_more_where_the_disk_has_an_answer(
    registry: EdgeRegistry, moody: Moody, retry_after: str, asked: int
) -> None:
    await get(registry)
    moody.asked()
    moody.outage = lambda _: web.Response(status=429, headers={"Retry-After": retry_after})
    assert (await get(registry)).is_stale
    assert len(moody.asked()) == asked
    assert "429" in await refusal(get(registry, CONFIG_PATH))
    assert len(moody.asked()) == (3 if retry_after == "0" else 1)


async def test_a_registry_that_fails_once_is_asked_again_where_the_disk_has_no_answer(
    registry: EdgeRegistry, moody: Moody
) -> None:
    """As a stock registry that is a cache does, of a blob that it is writing down for somebody else."""

    def fail_once(_: web.Request) -> web.StreamResponse:
        moody.outage = None
        return web.json_response({"errors": [{"code": "UNKNOWN", "message": "unknown error"}]}, status=500)

    moody.outage = fail_once
    assert (await head(registry, CONFIG_PATH)).status == 200
    assert [method for method, _ in moody.asked()] == ["HEAD", "HEAD"]


async def test_a_lasting_no_to_the_proxys_own_credentials_is_no_outage(moody: Moody, tmp_path: Path) -> None:
    async with edge(moody.registry.url, tmp_path, **OWN) as node:
        await get(node.registry)
        moody.outage = lambda _: web.json_response({}, status=401, headers={"WWW-Authenticate": 'Basic realm="r"'})
        with pytest.raises(UpstreamError) as raised:
            await get(node.registry)
        assert raised.value.status == 403


async def test_tags_are_listed_for_other_tools_that_read_the_directory(
    registry: EdgeRegistry, node: Edge, moody: Moody
) -> None:
    def listed() -> list[tuple[str, str]]:
        entries = json.loads((node.store.directory.root / "index.json").read_bytes())["manifests"]
        return [(one["annotations"]["org.opencontainers.image.ref.name"], one["digest"]) for one in entries]

    await get(registry)
    await until(lambda: listed() == [("team/model:v1", IMAGE.digest)])
    await registry.get(TAG, ALICE, limit=MAX_MANIFEST_BYTES, accept="application/vnd.oci.image.manifest.v1+json")
    moody.outage = oci(404, "MANIFEST_UNKNOWN")
    await get(registry)
    await until(lambda: listed() == [])


async def test_who_shows_nothing_offline_is_asked_for_credentials_as_the_registry_does(
    registry: EdgeRegistry, moody: Moody
) -> None:
    nobody = Identity.of({})

    def guarded(request: web.Request) -> web.Response:
        challenge = 'Bearer realm="https://r.example/token",service="r"'
        if request.path != "/v2/":
            challenge += ',scope="repository:team/model:pull"'
        return web.json_response({}, status=401, headers={"WWW-Authenticate": challenge})

    await get(registry)
    moody.outage = guarded
    await get(registry, "/v2/", nobody)
    moody.outage = page(500)
    asked = await get(registry, identity=nobody)
    assert (asked.status, asked.is_stale) == (401, True)
    scoped = 'Bearer realm="https://r.example/token",service="r",scope="repository:team/model:pull"'
    assert asked.headers["WWW-Authenticate"] == scoped
    elsewhere = await head(registry, TAG.replace("team/model", "team/nowhere"), nobody)
    assert elsewhere.headers["WWW-Authenticate"] == scoped.replace("team/model", "team/nowhere")
    assert "your credentials" in await refusal(get(registry, identity=BOB))
    moody.outage = guarded
    await head(registry, identity=nobody)
    moody.outage = page(500)
    for path in (TAG, BY_DIGEST, CONFIG_PATH):
        assert (await get(registry, path, nobody)).headers["WWW-Authenticate"] == scoped


@pytest.mark.parametrize("path", [BY_DIGEST, CONFIG_PATH])
@pytest.mark.parametrize("media_type", ["text/html", "text/plain", "application/json"])
async def test_a_portal_that_says_200_to_everyone_lets_nobody_in(
    registry: EdgeRegistry, node: Edge, moody: Moody, path: str, media_type: str
) -> None:
    content = await brought(node, path)
    moody.outage = lambda _: web.Response(text='{"please": "log in"}', content_type=media_type)
    if media_type != "text/html":
        assert "your credentials" in await refusal(head(registry, path, BOB))
        with pytest.raises(UpstreamError, match=r"your credentials|other content"):
            await get(registry, path, BOB)
        if path == CONFIG_PATH:
            assert "your credentials" in await refusal(registry.first_byte(path, BOB))
        moody.outage = page(502)
        assert "your credentials" in await refusal(get(registry, path, BOB))
        return
    assert "your credentials" in await refusal(head(registry, path, BOB))
    if path == CONFIG_PATH:
        assert "your credentials" in await refusal(registry.first_byte(path, BOB))
    assert "your credentials" in await refusal(get(registry, path, BOB))
    assert (await get(registry, path)).body == content


async def test_a_portals_pages_do_not_end_the_outage_that_they_are(registry: EdgeRegistry, moody: Moody) -> None:
    await get(registry)
    moody.outage = page(200)
    with capture_logs() as logs:
        for _ in range(3):
            assert (await get(registry)).is_stale
            assert (await head(registry)).is_stale
    assert [one["event"] for one in logs] == ["registry unavailable, the disk answers"]
    moody.outage = None
    assert not (await get(registry)).is_stale
