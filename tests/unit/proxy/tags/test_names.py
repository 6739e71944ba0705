"""Names of partitions by tag: which tags are looked at, how often an image is read, and what stands in the way."""

import pytest
from aiohttp import web
from cryptography.hazmat.primitives.asymmetric import ec

from proxy.auth.grants import Grants
from proxy.auth.identity import Identity
from proxy.clients.limits import Slots
from proxy.partitions.content import Contents
from proxy.partitions.cutting import Cutter
from proxy.partitions.policy import SourcePolicy
from proxy.partitions.source import Sources
from proxy.repository import DEFAULT_UPSTREAM, Repository
from proxy.store.memory import MemoryStore
from proxy.store.tiered import TieredStore
from proxy.tags.names import MOST_NAMES, NamesOfTags, may_have_partitions
from proxy.tags.records import PartitionNames, PartitionNamesKey
from proxy.upstream.referrers import Referrers
from proxy.upstream.registry import Upstreams
from proxy.upstream.replies import RefusedError, UpstreamError
from tests.lab.documents import FieldStyle
from tests.lab.fake_registry import FakeRegistry
from tests.lab.images import Image, build_image
from tests.lab.partition_requests import CELLS, with_field
from twodfs.oci.digest import Digest
from twodfs.signing.ecdsa import PrivateKey

MODEL = Repository(DEFAULT_UPSTREAM, "team/model")
ALICE = Identity.of({"Authorization": "Bearer alice"})


def image(**partitions: str) -> Image:
    return build_image(CELLS, field_style=FieldStyle(more={"partitions": partitions}))


def names_of_tags(upstreams: Upstreams, store: TieredStore | None = None, *, is_signed: bool = False) -> NamesOfTags:
    store = store or TieredStore(MemoryStore(2**24), None)
    key = PrivateKey(ec.generate_private_key(ec.SECP256R1())).public_key
    cutter = Cutter(
        Contents(upstreams, store, max_field=2**20),
        max_layers=100,
        slots=Slots(4, 16, "crowded"),
        large_slots=Slots(4, 16, "crowded"),
        policy=SourcePolicy(upstreams, Referrers(upstreams), [key], ttl=60) if is_signed else None,
    )
    return NamesOfTags(Sources(upstreams, Grants(3600), tag_ttl=0), cutter, store)


@pytest.mark.parametrize("tag", ["v1", "v1-rc.2", "v1--Edge", "sha256-" + "ab" * 31])
def test_an_image_may_have_partitions(tag: str) -> None:
    assert may_have_partitions(tag)


@pytest.mark.parametrize(
    "tag",
    [
        *("v1--edge", "v1--0.0.1.1", "no/tag", "-v1", "v" * 129),
        *("sha256-" + "ab" * 32 + end for end in ("", ".sig", ".att")),
    ],
)
def test_partitions_and_signatures_have_no_partitions(tag: str) -> None:
    assert not may_have_partitions(tag)


async def test_an_image_is_read_once_and_asked_for_each_time(registry: FakeRegistry, upstreams: Upstreams) -> None:
    registry.image = image(gpu="1.0.1.1", edge="0.0.0.1")
    store = TieredStore(MemoryStore(2**24), None)
    asking = names_of_tags(upstreams, store)
    for _ in range(2):
        assert await asking.of(MODEL, "v1", ALICE) == ("edge", "gpu")
    assert store.peek(PartitionNamesKey(MODEL, Digest(registry.image.digest))) == PartitionNames(("edge", "gpu"))
    read = len(registry.asked("GET", ""))
    assert len(registry.asked("HEAD", "/manifests/v1")) == 2
    for _ in range(2):
        assert await asking.of(MODEL, "v1", ALICE) == ("edge", "gpu")
    assert len(registry.asked("GET", "")) == read


async def test_other_tags_are_not_asked_for(registry: FakeRegistry, upstreams: Upstreams) -> None:
    assert await names_of_tags(upstreams).of(MODEL, "v1--edge", ALICE) == ()
    assert await names_of_tags(upstreams).of(MODEL, "gone", ALICE) == ()
    assert [request.path.rpartition("/")[2] for request in registry.requests] == ["gone"]


async def test_an_image_without_a_field_is_read_once(registry: FakeRegistry, upstreams: Upstreams) -> None:
    registry.image = build_image(None)
    asking = names_of_tags(upstreams)
    for _ in range(2):
        assert await asking.of(MODEL, "v1", ALICE) == ()
    assert len(registry.asked("GET", registry.image.digest)) == 1


async def test_any_name_may_be_one(registry: FakeRegistry, upstreams: Upstreams) -> None:
    """Also the one that is cut to learn of the others, and selects nothing here."""
    registry.image = image(**{"any-name": "70.70.80.80", "edge": "0.0.0.1"})
    assert await names_of_tags(upstreams).of(MODEL, "v1", ALICE) == ("any-name", "edge")


async def test_so_many_names_and_no_more(registry: FakeRegistry, upstreams: Upstreams) -> None:
    registry.image = image(**{f"n{number}": "0.0.0.1" for number in range(MOST_NAMES + 10)})
    assert len(await names_of_tags(upstreams).of(MODEL, "v1", ALICE)) == MOST_NAMES


@pytest.mark.parametrize("field", [b"{", b'{"rows":[],"partitions":{"Edge!":"0.0.0.1"}}', b" " * (2**20 + 1)])
async def test_a_faulty_field_is_read_once(registry: FakeRegistry, upstreams: Upstreams, field: bytes) -> None:
    registry.image = with_field(field)
    assert registry.image.field_blob is not None
    asking = names_of_tags(upstreams)
    for _ in range(2):
        assert await asking.of(MODEL, "v1", ALICE) == ()
    assert len(registry.asked("GET", registry.image.field_blob.digest)) <= 1


async def test_an_image_without_a_trusted_signature_has_none(registry: FakeRegistry, upstreams: Upstreams) -> None:
    registry.image = image(edge="0.0.0.1")
    store = TieredStore(MemoryStore(2**24), None)
    assert await names_of_tags(upstreams, store, is_signed=True).of(MODEL, "v1", ALICE) == ()
    assert await names_of_tags(upstreams, store).of(MODEL, "v1", ALICE) == ("edge",)
    assert await names_of_tags(upstreams, store, is_signed=True).of(MODEL, "v1", ALICE) == ()


@pytest.mark.parametrize("status", [401, 403, 404])
async def test_who_may_not_read_the_image_is_told_no_names(
    registry: FakeRegistry, upstreams: Upstreams, status: int
) -> None:
    registry.image = image(edge="0.0.0.1")
    asking = names_of_tags(upstreams)
    assert await asking.of(MODEL, "v1", ALICE) == ("edge",)

    async def refuse(_: web.Request) -> web.Response:
        return web.json_response({}, status=status)

    registry.interpose = refuse
    assert await asking.of(MODEL, "v1", ALICE) == ()


@pytest.mark.parametrize("status", [429, 500, 503])
async def test_a_registry_that_cannot_say_is_no_image_without_names(
    registry: FakeRegistry, upstreams: Upstreams, status: int
) -> None:
    async def fail(_: web.Request) -> web.Response:
        return web.json_response({}, status=status)

    registry.interpose = fail
    with pytest.raises(RefusedError):
        await names_of_tags(upstreams).of(MODEL, "v1", ALICE)


async def test_content_that_cannot_be_had_now(registry: FakeRegistry, upstreams: Upstreams) -> None:
    registry.image = image(edge="0.0.0.1")
    missing: list[int] = [404]

    async def lose(request: web.Request) -> web.Response | None:
        if "/blobs/" not in request.path:
            return None
        return web.Response(status=missing[0]) if missing[0] != 200 else web.Response(body=b"another")

    registry.interpose = lose
    asking = names_of_tags(upstreams)
    assert await asking.of(MODEL, "v1", ALICE) == ()  # the image is incomplete
    missing[0] = 200
    with pytest.raises(UpstreamError):
        await asking.of(MODEL, "v1", ALICE)
    registry.interpose = None
    assert await asking.of(MODEL, "v1", ALICE) == ("edge",)
