"""Source documents: fetched by digest, verified, remembered."""

import asyncio
from collections.abc import Callable

import pytest
from aiohttp import web

from proxy.auth.identity import Identity
from proxy.partitions.content import LARGE_DOCUMENT, Contents
from proxy.partitions.records import BlobSizeKey, ContentKey, FieldKey
from proxy.repository import DEFAULT_UPSTREAM, Repository
from proxy.store.memory import MemoryStore
from proxy.store.tiered import TieredStore
from proxy.upstream.registry import Upstreams
from proxy.upstream.replies import RefusedError, UpstreamError
from tests.lab.fake_registry import Answer, FakeRegistry
from tests.lab.partition_requests import CELLS, IMAGE
from twodfs.errors import FormatError
from twodfs.oci.digest import Digest, digest_of

MODEL = Repository(DEFAULT_UPSTREAM, "team/model")
ALICE, BOB = (Identity.of({"Authorization": f"Bearer {name}"}) for name in ("alice", "bob"))
assert IMAGE.field_blob is not None
FIELD = Digest(IMAGE.field_blob.digest)
CONFIG = Digest(IMAGE.platform().config.digest)
LAYER = IMAGE.platform().base[0].blob


@pytest.fixture
def store() -> TieredStore:
    return TieredStore(MemoryStore(2**24), None)


@pytest.fixture
def contents(upstreams: Upstreams, store: TieredStore) -> Contents:
    return Contents(upstreams, store, max_field=2**20)


def answering(make: Callable[[web.Request], web.StreamResponse]) -> Answer:
    async def answer(request: web.Request) -> web.StreamResponse:
        return make(request)

    return answer


async def test_a_document_is_fetched_once_with_the_clients_own_credentials(
    registry: FakeRegistry, contents: Contents, store: TieredStore
) -> None:
    for identity in (ALICE, ALICE, BOB):
        assert await contents.manifest(MODEL, Digest(IMAGE.digest), identity) == IMAGE.top.content
        assert await contents.config(MODEL, CONFIG, identity) == IMAGE.platform().config.content
    assert [(one.path, one.headers["Authorization"]) for one in registry.requests] == [
        (f"/v2/team/model/manifests/{IMAGE.digest}", "Bearer alice"),
        (f"/v2/team/model/blobs/{CONFIG}", "Bearer alice"),
    ]
    assert store.peek(ContentKey(MODEL, CONFIG)) is not None


async def test_other_content_than_the_digest_names_is_refused_and_not_kept(
    registry: FakeRegistry, contents: Contents, store: TieredStore
) -> None:
    registry.interpose = answering(lambda _: web.Response(body=b"other"))
    with pytest.raises(UpstreamError, match="with other content"):
        await contents.config(MODEL, CONFIG, ALICE)
    with pytest.raises(UpstreamError, match="with other content"):
        await contents.field(MODEL, FIELD, ALICE)
    assert store.peek(ContentKey(MODEL, CONFIG)) is None
    assert store.peek(FieldKey(MODEL, FIELD)) is None


async def test_what_is_missing_makes_the_image_incomplete_and_a_refusal_is_the_registrys(
    registry: FakeRegistry, contents: Contents
) -> None:
    missing = digest_of(b"nowhere")
    for ask in (contents.manifest, contents.config, contents.field, contents.size):
        with pytest.raises(UpstreamError, match=f"incomplete: the registry does not have {missing}") as error:
            await ask(MODEL, missing, ALICE)
        assert error.value.status == 404
    registry.interpose = answering(lambda _: web.Response(status=403, body=b"no"))
    for ask in (contents.manifest, contents.config, contents.field, contents.size):
        with pytest.raises(RefusedError) as refused:
            await ask(MODEL, missing, ALICE)
        assert refused.value.reply.status == 403


async def test_of_a_document_no_more_is_read_than_was_announced_unless_it_is_small(
    registry: FakeRegistry, contents: Contents, store: TieredStore
) -> None:
    small, large = b" " * LARGE_DOCUMENT, b" " * (LARGE_DOCUMENT + 1)
    bodies = {str(digest_of(body)): body for body in (small, large)}
    registry.interpose = answering(lambda request: web.Response(body=bodies[request.path.rpartition("/")[2]]))
    assert await contents.config(MODEL, digest_of(small), ALICE, announced=7) == small
    with pytest.raises(UpstreamError, match=f"longer than {LARGE_DOCUMENT} bytes"):
        await contents.config(MODEL, digest_of(large), ALICE, announced=7)
    for count in (3, 4):  # a large one would leave no room for others
        assert await contents.config(MODEL, digest_of(large), ALICE, announced=len(large)) == large
        assert len(registry.requests) == count
    assert store.peek(ContentKey(MODEL, digest_of(small))) is not None
    assert store.peek(ContentKey(MODEL, digest_of(large))) is None


async def test_a_field_is_read_once_and_kept_parsed(registry: FakeRegistry, contents: Contents) -> None:
    fields = await asyncio.gather(*(contents.field(MODEL, FIELD, ALICE) for _ in range(3)))
    assert {field.count for field in fields} == {len(CELLS)}
    assert await contents.field(MODEL, FIELD, BOB) == fields[0]
    assert len(registry.requests) == 1


async def test_what_is_no_field_is_said_again_for_each_who_asks(registry: FakeRegistry, contents: Contents) -> None:
    body = b'{"rows":7}'
    registry.interpose = answering(lambda _: web.Response(body=body))
    for count in (1, 2):
        with pytest.raises(FormatError):
            await contents.field(MODEL, digest_of(body), ALICE)
        assert len(registry.requests) == count


async def test_a_client_that_waited_for_anothers_refusal_asks_for_itself(
    registry: FakeRegistry, contents: Contents
) -> None:
    reached, opened = asyncio.Event(), asyncio.Event()

    async def refuse_alice(request: web.Request) -> web.StreamResponse | None:
        if request.headers["Authorization"] != "Bearer alice":
            return registry.content(request)
        reached.set()
        await opened.wait()
        return web.Response(status=403)

    registry.interpose = refuse_alice
    async with asyncio.timeout(60):
        alice = asyncio.ensure_future(contents.field(MODEL, FIELD, ALICE))
        await reached.wait()
        bob = asyncio.ensure_future(contents.field(MODEL, FIELD, BOB))
        await contents.size(MODEL, Digest(LAYER.digest), BOB)  # a question of his own would be heard before this
        fields = [one.headers["Authorization"] for one in registry.requests if one.path.endswith(FIELD)]
        assert fields == ["Bearer alice"]
        opened.set()
        results = await asyncio.gather(alice, bob, return_exceptions=True)
    assert isinstance(results[0], RefusedError)
    assert not isinstance(results[1], BaseException)
    # After hers that both waited for, each makes one alone.
    fields = [one.headers["Authorization"] for one in registry.requests if one.path.endswith(FIELD)]
    assert sorted(fields) == ["Bearer alice"] * 2 + ["Bearer bob"]


@pytest.mark.parametrize("manners", ["HEAD", "HEAD refused", "Content-Range", "whole"])
async def test_the_size_of_a_blob_is_asked_in_whatever_way_the_registry_answers(
    registry: FakeRegistry, contents: Contents, store: TieredStore, manners: str
) -> None:
    size = len(LAYER.content)

    def answer(request: web.Request) -> web.StreamResponse:
        if request.method == "HEAD":
            length = {"Content-Length": str(size)} if manners == "HEAD" else {}
            return web.Response(status=401 if manners == "HEAD refused" else 200, headers=length)
        assert request.headers["Range"] == "bytes=0-0"
        if manners == "whole":
            return web.Response(body=LAYER.content)
        return web.Response(status=206, body=LAYER.content[:1], headers={"Content-Range": f"bytes 0-0/{size}"})

    registry.interpose = answering(answer)
    for _ in range(2):
        assert await contents.size(MODEL, Digest(LAYER.digest), ALICE) == size
    assert len(registry.requests) == (1 if manners == "HEAD" else 2)
    kept = store.peek(BlobSizeKey(MODEL, Digest(LAYER.digest)))
    assert kept is not None
    assert kept.size == size


@pytest.mark.parametrize("told", ["bytes 0-0/*", "bytes 0-0/" + "9" * 19, "nonsense", ""])
async def test_a_size_that_is_not_told_is_not_guessed(registry: FakeRegistry, contents: Contents, told: str) -> None:
    def answer(request: web.Request) -> web.StreamResponse:
        return web.Response(status=405 if request.method == "HEAD" else 206, headers={"Content-Range": told})

    registry.interpose = answering(answer)
    with pytest.raises(UpstreamError, match="does not tell the size"):
        await contents.size(MODEL, Digest(LAYER.digest), ALICE)
