"""Two registries with repositories of the same name, behind one process, one memory and one Redis."""

import asyncio
import contextlib
import hashlib
from collections.abc import AsyncIterator
from dataclasses import dataclass

import pytest
from aiohttp import web
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from proxy.auth.grants import Grants
from proxy.auth.identity import Identity
from proxy.clients.limits import Slots
from proxy.config import load
from proxy.partitions.content import Contents
from proxy.partitions.cutting import Cutter
from proxy.partitions.lookalikes import ComputedTagError, Lookalikes
from proxy.partitions.policy import SourcePolicy, UnsignedError
from proxy.partitions.records import BlobSizeKey, ContentKey, CutPartition, FieldKey, Provenance
from proxy.partitions.source import Sources
from proxy.partitions.synthesis import Partitions
from proxy.repository import DEFAULT_UPSTREAM, Repository
from proxy.signing.attached import AttachedDocuments
from proxy.signing.signatures import Signatures
from proxy.signing.signer import FileSigner
from proxy.store.memory import MemoryStore
from proxy.store.redis import CANARY, RedisStore
from proxy.store.tiered import TieredStore
from proxy.upstream.referrers import Referrers
from proxy.upstream.replies import RefusedError, Reply
from tests.lab.fake_registry import FakeRegistry, serving
from tests.lab.images import Image, build_image
from tests.lab.redis import Redis
from tests.lab.signing import payload_of, signature_manifest, signature_tag
from tests.lab.upstreams import connected
from twodfs.field.partition import Selection, readings
from twodfs.oci.digest import Digest, digest_of
from twodfs.oci.documents import ACCEPT_IMAGES, Document, parse_object
from twodfs.oci.referrers import entries_of
from twodfs.signing.ecdsa import PrivateKey

NAME = "team/model"
ONE, OTHER = Repository(DEFAULT_UPSTREAM, NAME), Repository("other", NAME)
ALICE, BOB = (Identity.of({"Authorization": f"Bearer {name}"}) for name in ("alice", "bob"))
CELLS = {(row, column): {f"{row}/{column}": b"%d:%d" % (row, column)} for row in range(2) for column in range(2)}
SAME = build_image(CELLS)
DIFFERENT = build_image({cell: {"file": b"another"} for cell in CELLS}, base={"base.txt": b"another base"})
SELECTION = Selection.parse("0.0.0.1")
KEY = PrivateKey.parse(
    ec.generate_private_key(ec.SECP256R1()).private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
)


class Guarded(FakeRegistry):
    """Lets in the clients that it is told to; with a `meeting`, each answer waits for those of others."""

    def __init__(self, image: Image, *allowed: Identity) -> None:
        super().__init__(image, self.guard)
        self.allowed = {*allowed}
        self.meeting: asyncio.Barrier | None = None

    async def guard(self, request: web.Request) -> web.StreamResponse | None:
        if self.meeting is not None:
            await self.meeting.wait()
        is_allowed = Identity.of(request.headers) in self.allowed
        return None if is_allowed else web.json_response({"errors": [{"code": "DENIED"}]}, status=403)


@dataclass(frozen=True, slots=True)
class House:
    """The parts of a proxy that know of repositories, wired as in `proxy.app`, in front of two registries."""

    one: Guarded
    other: Guarded
    redis: RedisStore
    grants: Grants
    sources: Sources
    contents: Contents
    partitions: Partitions
    lookalikes: Lookalikes
    referrers: Referrers
    attached: AttachedDocuments
    policy: SourcePolicy

    async def cut(self, repository: Repository, identity: Identity) -> CutPartition:
        source = await self.sources.resolve(repository, "v1", identity, ACCEPT_IMAGES)
        assert source is not None
        made = await self.partitions.get(source, Provenance(source.digest, SELECTION), identity)
        assert made is not None
        return made


@contextlib.asynccontextmanager
async def housed(one: Guarded, other: Guarded, redis_server: Redis) -> AsyncIterator[House]:
    cache = load({"upstream": "http://127.0.0.1:1", "cache.redis_url": redis_server.url}, {}).cache
    patient = cache.model_copy(update={"redis_timeout": 5.0})
    async with (
        serving(one),
        serving(other),
        connected(one.url) as first,
        connected(other.url) as second,
        RedisStore.connect(patient) as redis,
    ):
        upstreams = {ONE.upstream: first, OTHER.upstream: second}
        store = TieredStore(MemoryStore(2**24), redis)
        grants = Grants(3600)
        sources = Sources(upstreams, grants, tag_ttl=3600)
        contents = Contents(upstreams, store, max_field=2**20)
        referrers = Referrers(upstreams)
        slots, large_slots = (Slots(4, 16, "crowded") for _ in range(2))
        cutter = Cutter(contents, max_layers=100, slots=slots, large_slots=large_slots)
        partitions = Partitions(cutter, sources, store)
        signatures = Signatures(partitions, store, FileSigner(KEY), registry="registry.example.org")
        yield House(
            one,
            other,
            redis,
            grants,
            sources,
            contents,
            partitions,
            Lookalikes(sources, cutter),
            referrers,
            AttachedDocuments(upstreams, referrers, partitions, signatures),
            SourcePolicy(upstreams, referrers, [KEY.public_key], ttl=3600),
        )


@pytest.fixture
async def house(redis_server: Redis) -> AsyncIterator[House]:
    """The same image in both; of the one registry Alice may read it, of the other Bob."""
    async with housed(Guarded(SAME, ALICE), Guarded(SAME, BOB), redis_server) as made:
        yield made


@pytest.fixture
async def mixed(redis_server: Redis) -> AsyncIterator[House]:
    """Different images under the same name; Alice and Bob may read both."""
    async with housed(Guarded(SAME, ALICE, BOB), Guarded(DIFFERENT, ALICE, BOB), redis_server) as made:
        yield made


async def test_a_tag_names_what_its_own_registry_says(mixed: House) -> None:
    for _ in range(2):  # asked, and remembered
        one = await mixed.sources.resolve(ONE, "v1", ALICE, ACCEPT_IMAGES)
        other = await mixed.sources.resolve(OTHER, "v1", ALICE, ACCEPT_IMAGES)
        assert one is not None
        assert other is not None
        assert (one.digest, other.digest) == (SAME.digest, DIFFERENT.digest)
    assert (len(mixed.one.requests), len(mixed.other.requests)) == (1, 1)
    await mixed.sources.forget(ONE)  # something was written there
    for repository in (ONE, OTHER):
        await mixed.sources.resolve(repository, "v1", ALICE, ACCEPT_IMAGES)
    assert (len(mixed.one.requests), len(mixed.other.requests)) == (2, 1)


async def test_partitions_of_one_name_are_cut_from_the_image_of_their_own_registry(mixed: House) -> None:
    one, other = await mixed.cut(ONE, ALICE), await mixed.cut(OTHER, ALICE)
    assert one.root != other.root
    for repository, mine, strange in ((ONE, one, other), (OTHER, other, one)):
        assert await mixed.cut(repository, BOB) == mine
        for digest in mine.documents:
            assert await mixed.partitions.recall(repository, digest, ALICE, shared=True) == mine
            assert await mixed.partitions.find(repository, digest, ALICE) == mine
        for digest in strange.documents:
            assert await mixed.partitions.recall(repository, digest, ALICE, shared=True) is None
            assert await mixed.partitions.find(repository, digest, ALICE) is None


async def test_a_yes_of_one_registry_grants_nothing_of_the_other(house: House) -> None:
    made = await house.cut(ONE, ALICE)
    assert house.sources.may_read(ALICE, ONE, Digest(SAME.digest))
    assert not house.sources.may_read(ALICE, OTHER, Digest(SAME.digest))
    with pytest.raises(RefusedError):
        await house.sources.resolve(OTHER, "v1", ALICE, ACCEPT_IMAGES)
    for digest in made.documents:
        assert await house.partitions.recall(OTHER, digest, ALICE, shared=True) is None
        with pytest.raises(RefusedError):
            await house.partitions.find(OTHER, digest, ALICE)


async def test_a_right_that_a_token_proves_is_for_the_repository_of_one_registry(house: House) -> None:
    identity = Identity(ALICE.headers, ALICE.fingerprint, {ONE: frozenset({"pull"})})
    assert identity.may_pull(ONE)
    assert not identity.may_pull(OTHER)
    made = await house.cut(ONE, identity)
    assert await house.partitions.recall(ONE, made.root, identity, shared=True) == made
    assert await house.partitions.recall(OTHER, made.root, identity, shared=True) is None
    assert house.grants.holds(identity, ONE, digest_of(b"anything"))
    assert not house.grants.holds(identity, OTHER, digest_of(b"anything"))


async def test_a_document_is_found_again_through_the_registry_that_lets_the_client_read_its_source(
    house: House,
) -> None:
    """Its provenance is known by its digest alone, which says nothing of who may read it."""
    made = await house.cut(ONE, ALICE)
    assert not house.other.requests
    assert await house.partitions.find(OTHER, made.root, BOB) == made
    # Nothing of what Alice's registry gave was taken for Bob's.
    read = {one.path.rpartition("/")[2] for one in house.other.requests if one.method == "GET"}
    assert {SAME.digest, *(one.digest for one in SAME.manifests), SAME.platform().config.digest} <= read
    assert {Identity.of(one.headers).fingerprint for one in house.other.requests} == {BOB.fingerprint}
    with pytest.raises(RefusedError):
        await house.partitions.find(ONE, made.root, BOB)


async def test_contents_and_fields_of_one_registry_are_not_known_of_the_other(house: House) -> None:
    assert SAME.field_blob is not None
    field, config = Digest(SAME.field_blob.digest), Digest(SAME.platform().config.digest)
    for repository, identity in ((ONE, ALICE), (OTHER, BOB)):
        for _ in range(2):  # read, and remembered
            await house.contents.manifest(repository, Digest(SAME.digest), identity)
            await house.contents.config(repository, config, identity)
            await house.contents.field(repository, field, identity)
    assert len(house.one.requests) == len(house.other.requests) == 3


async def test_what_one_registry_gave_is_not_given_as_the_others(house: House) -> None:
    assert SAME.field_blob is not None
    field, config = Digest(SAME.field_blob.digest), Digest(SAME.platform().config.digest)
    await house.contents.config(ONE, config, ALICE)
    await house.contents.field(ONE, field, ALICE)
    with pytest.raises(RefusedError):
        await house.contents.config(OTHER, config, ALICE)
    with pytest.raises(RefusedError):
        await house.contents.field(OTHER, field, ALICE)
    for key in (ContentKey(OTHER, config), FieldKey(OTHER, field)):
        assert await house.redis.get(key) is None


async def test_sizes_of_blobs_are_kept_apart(house: House) -> None:
    layer = Digest(SAME.platform().base[0].blob.digest)

    async def lies(request: web.Request) -> web.StreamResponse | None:
        is_blob = request.path.endswith(layer)
        return web.Response(headers={"Content-Length": "7"}) if is_blob else None

    house.other.interpose = lies
    size = len(SAME.platform().base[0].blob.content)
    for _ in range(2):
        assert await house.contents.size(ONE, layer, ALICE) == size
        assert await house.contents.size(OTHER, layer, BOB) == 7
    for repository, expected in ((ONE, size), (OTHER, 7)):
        kept = await house.redis.get(BlobSizeKey(repository, layer))
        assert kept is not None
        assert kept.size == expected


async def test_records_in_redis_are_named_apart_and_those_of_the_default_as_ever(
    house: House, redis_server: Redis
) -> None:
    await house.cut(ONE, ALICE)
    await house.cut(OTHER, BOB)
    with redis_server.client() as client:
        names = {name.decode() for name in client.scan_iter("*") if CANARY.encode() not in name}
    kept = {name for name in names if f":{NAME}:" in name}
    others = {name for name in names if f":other!{NAME}:" in name}
    assert {name.replace("other!", "") for name in others} == kept
    assert {name.split(":")[1] for name in kept} == {"content", "field", "partition", "size"}
    assert all("recipe:" in name for name in names - kept - others)
    assert f"twodfs:content:{NAME}:{SAME.digest}" in kept


async def test_signatures_are_for_those_who_may_read_the_source_in_that_very_registry(house: House) -> None:
    made = await house.cut(ONE, ALICE)
    signed = await house.attached.tagged(ONE, made.root, ALICE)
    assert signed is not None
    assert isinstance(signed, Document)
    assert await house.attached.find(ONE, signed.digest, ALICE) == signed
    with pytest.raises(RefusedError):
        await house.attached.find(OTHER, signed.digest, ALICE)
    answer = await house.attached.tagged(OTHER, made.root, ALICE)
    assert isinstance(answer, Reply)
    assert answer.status == 403
    listed = await house.attached.referrers(ONE, made.root, ALICE, None)
    assert listed is not None
    assert entries_of(parse_object(listed.document.body))
    with pytest.raises(RefusedError):
        await house.attached.referrers(OTHER, made.root, ALICE, None)
    assert await house.attached.find(OTHER, signed.digest, BOB) == signed


async def test_what_others_attached_in_one_registry_is_not_shown_of_the_other(house: House) -> None:
    """Whether a registry has the referrers API is remembered, too: for each registry."""
    body = b'{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[]}'

    async def lists(request: web.Request) -> web.StreamResponse | None:
        if "/referrers/" not in request.path:
            return None
        return web.Response(body=body, content_type="application/vnd.oci.image.index.v1+json")

    house.one.interpose = lists
    house.other.interpose = None
    digest = Digest(SAME.digest)
    assert (await house.referrers.of(ONE, digest, ALICE)).is_by_api
    assert not (await house.referrers.of(OTHER, digest, BOB)).is_by_api
    assert (house.referrers.has_api(ONE), house.referrers.has_api(OTHER)) == (True, False)


async def test_a_source_that_is_signed_in_one_registry_is_not_so_in_the_other(house: House) -> None:
    tag, payload = signature_tag(SAME.digest), payload_of(SAME.digest)
    manifest, blobs = signature_manifest({payload: KEY.sign_digest(hashlib.sha256(payload).digest())})
    attached = {tag: manifest, **{blob.digest: blob for blob in blobs}}

    async def has_the_signature(request: web.Request) -> web.StreamResponse | None:
        found = attached.get(request.path.rpartition("/")[2])
        return None if found is None else web.Response(body=found.content, content_type=found.media_type)

    house.one.interpose, house.other.interpose = has_the_signature, None
    one = await house.sources.resolve(ONE, "v1", ALICE, ACCEPT_IMAGES)
    other = await house.sources.resolve(OTHER, "v1", ALICE, ACCEPT_IMAGES)
    assert one is not None
    assert other is not None
    assert one.digest == other.digest
    for _ in range(2):  # a good verdict is remembered
        await house.policy.check(one, ALICE)
        with pytest.raises(UnsignedError):
            await house.policy.check(other, ALICE)


async def test_a_tag_that_is_computed_in_one_registry_can_be_written_in_the_other(mixed: House) -> None:
    mixed.other.image = build_image(None)
    for _ in range(2):  # found out, and remembered
        with pytest.raises(ComputedTagError):
            await mixed.lookalikes.check_write(ONE, readings("v1--all"), ALICE)
        await mixed.lookalikes.check_write(OTHER, readings("v1--all"), ALICE)


@pytest.mark.parametrize("question", ["tag", "content", "field", "size", "partition"])
async def test_what_is_asked_of_both_at_once_is_asked_of_each(house: House, question: str) -> None:
    """Neither registry answers before both were asked: one flight for both would never land."""
    assert SAME.field_blob is not None
    field, layer = Digest(SAME.field_blob.digest), Digest(SAME.platform().base[0].blob.digest)
    house.one.allowed = house.other.allowed = {ALICE}
    if question == "partition":
        sources = [await house.sources.resolve(one, "v1", ALICE, ACCEPT_IMAGES) for one in (ONE, OTHER)]
        assert all(sources)
    house.one.meeting = house.other.meeting = asyncio.Barrier(2)

    async def ask(repository: Repository) -> object:
        match question:
            case "tag":
                return await house.sources.resolve(repository, "v1", ALICE, ACCEPT_IMAGES)
            case "content":
                return await house.contents.manifest(repository, Digest(SAME.digest), ALICE)
            case "field":
                return await house.contents.field(repository, field, ALICE)
            case "size":
                return await house.contents.size(repository, layer, ALICE)
            case _:
                return await house.cut(repository, ALICE)

    async with asyncio.timeout(60):
        answers = await asyncio.gather(ask(ONE), ask(OTHER))
    assert all(answer is not None for answer in answers)
