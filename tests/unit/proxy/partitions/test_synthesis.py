"""Partitions: cut once, stored before they are answered, made again when they were lost."""

import asyncio
from dataclasses import dataclass, replace
from typing import Self

import pytest
from aiohttp import web

from proxy.auth.grants import Grants
from proxy.auth.identity import Identity
from proxy.clients.limits import Slots
from proxy.partitions.content import Contents
from proxy.partitions.cutting import Cutter
from proxy.partitions.records import CutPartition, Provenance, ProvenanceKey, Provenances
from proxy.partitions.source import SourceImage, Sources
from proxy.partitions.synthesis import Partitions
from proxy.repository import DEFAULT_UPSTREAM, Repository
from proxy.store.memory import MemoryStore
from proxy.store.tiered import TieredStore
from proxy.upstream.registry import Upstreams
from proxy.upstream.replies import RefusedError
from tests.lab.fake_registry import FakeRegistry
from tests.lab.partition_requests import IMAGE
from twodfs.errors import NothingSelectedError
from twodfs.field.partition import Selection
from twodfs.flatten.cut import FLATTEN_VERSION
from twodfs.oci.digest import Digest, digest_of
from twodfs.oci.documents import ACCEPT_IMAGES, OCI_INDEX, Document

MODEL = Repository(DEFAULT_UPSTREAM, "team/model")
ALICE, BOB = (Identity.of({"Authorization": f"Bearer {name}"}) for name in ("alice", "bob"))
SOURCE = SourceImage(MODEL, "v1", Digest(IMAGE.digest), IMAGE.top.media_type)
SELECTION = Selection.parse("0.0.1.1")
PROVENANCE = Provenance(SOURCE.digest, SELECTION)


@dataclass(frozen=True, slots=True)
class Replica:
    """A process that cuts, and what it remembers."""

    sources: Sources
    partitions: Partitions
    store: TieredStore

    @classmethod
    def of(cls, upstreams: Upstreams) -> Self:
        store = TieredStore(MemoryStore(2**24), None)
        sources = Sources(upstreams, Grants(3600), tag_ttl=0)
        slots, large_slots = (Slots(4, 16, "crowded") for _ in range(2))
        contents = Contents(upstreams, store, max_field=2**20)
        cutter = Cutter(contents, max_layers=100, slots=slots, large_slots=large_slots)
        return cls(sources, Partitions(cutter, sources, store), store)

    async def allow(self, identity: Identity) -> None:
        """Hear from the registry that a client may read the source."""
        assert await self.sources.resolve(MODEL, SOURCE.digest, identity, ACCEPT_IMAGES) is not None

    async def cut(self, provenance: Provenance = PROVENANCE) -> CutPartition:
        made = await self.partitions.get(SOURCE, provenance, ALICE)
        assert made is not None
        return made


@pytest.fixture
def replica(upstreams: Upstreams) -> Replica:
    return Replica.of(upstreams)


async def test_many_who_ask_at_once_get_one_cut_and_it_is_stored_before_they_do(
    registry: FakeRegistry, replica: Replica
) -> None:
    made, *same = await asyncio.gather(*(replica.cut() for _ in range(8)))
    assert all(one is made for one in same)
    paths = [one.path for one in registry.requests]
    assert len(set(paths)) == len(paths)
    assert replica.store.peek(PROVENANCE.key(MODEL)) is made
    for digest in made.documents:
        assert await replica.partitions.knows(digest)
    assert await replica.cut() == made
    assert len(registry.requests) == len(paths)


async def test_one_partition_by_two_spellings_is_kept_under_both(registry: FakeRegistry, replica: Replica) -> None:
    made = await replica.cut()
    asked = len(registry.requests)
    other = replace(PROVENANCE, selection=Selection.parse("0.0.1.1--0.0.0.0"))
    again = await replica.cut(other)
    assert again.root == made.root
    assert len(registry.requests) == asked  # its documents are known


async def test_what_selects_nothing_raises_for_all_who_ask(replica: Replica) -> None:
    nothing = replace(PROVENANCE, selection=Selection.parse("7.7.7.7"))
    errors = await asyncio.gather(*(replica.cut(nothing) for _ in range(3)), return_exceptions=True)
    assert {type(error) for error in errors} == {NothingSelectedError}


async def test_a_document_is_given_without_a_question_to_clients_whose_right_is_known_alone(
    registry: FakeRegistry, replica: Replica
) -> None:
    made = await replica.cut()
    for digest in made.documents:
        assert await replica.partitions.recall(MODEL, digest, ALICE, shared=True) is None
    await replica.allow(ALICE)
    asked = len(registry.requests)
    for digest in made.documents:
        assert await replica.partitions.recall(MODEL, digest, ALICE, shared=False) == made
        assert await replica.partitions.recall(MODEL, digest, BOB, shared=False) is None
        copy = Repository(DEFAULT_UPSTREAM, "team/copy")
        assert await replica.partitions.recall(copy, digest, ALICE, shared=False) is None
    assert await replica.partitions.recall(MODEL, digest_of(b"nothing"), ALICE, shared=True) is None
    assert len(registry.requests) == asked


async def test_found_by_digest_only_by_those_whom_the_registry_lets_read_its_source(
    registry: FakeRegistry, replica: Replica
) -> None:
    made = await replica.cut()

    async def refuse_bob(request: web.Request) -> web.StreamResponse | None:
        return web.Response(status=403) if request.headers["Authorization"] == "Bearer bob" else None

    registry.interpose = refuse_bob
    for digest in made.documents:
        assert await replica.partitions.find(MODEL, digest, ALICE) == made
        with pytest.raises(RefusedError):
            await replica.partitions.find(MODEL, digest, BOB)
    assert await replica.partitions.find(MODEL, digest_of(b"nothing"), ALICE) is None


async def test_a_partition_that_was_lost_is_cut_again_from_its_provenance(
    upstreams: Upstreams, replica: Replica
) -> None:
    made = await replica.cut()
    other = Replica.of(upstreams)
    assert await other.partitions.find(MODEL, made.root, ALICE) is None
    await other.store.put({ProvenanceKey(made.root): Provenances((PROVENANCE,))})
    found = await other.partitions.find(MODEL, made.root, ALICE)
    assert found is not None
    assert found.documents == made.documents


async def test_a_source_that_is_gone_leaves_nothing_to_find(registry: FakeRegistry, replica: Replica) -> None:
    made = await replica.cut()

    async def gone(_: web.Request) -> web.StreamResponse:
        return web.Response(status=404)

    registry.interpose = gone
    assert await replica.partitions.find(MODEL, made.root, ALICE) is None


async def test_what_this_process_is_to_vouch_for_it_cuts_itself(upstreams: Upstreams) -> None:
    """Others can write to a store that is shared."""
    replica = Replica.of(upstreams)
    forged = Document.of(OCI_INDEX, {"schemaVersion": 2, "manifests": []})
    partition = CutPartition.of(PROVENANCE, forged.digest, [forged])
    await replica.store.put(
        {PROVENANCE.key(MODEL): partition, ProvenanceKey(forged.digest): Provenances((PROVENANCE,))},
    )
    assert await replica.partitions.find(MODEL, forged.digest, ALICE) == partition
    assert await replica.partitions.find(MODEL, forged.digest, ALICE, by_us=True) is None
    made = await replica.cut()  # looking closer put the real one in its place
    assert made.root != forged.digest
    assert await replica.partitions.find(MODEL, made.root, ALICE, by_us=True) == made


async def test_what_a_later_release_cut_is_served_while_it_is_kept_and_not_made_here(replica: Replica) -> None:
    later = replace(PROVENANCE, version=FLATTEN_VERSION + 1)
    document = Document.of(OCI_INDEX, {"schemaVersion": 2, "manifests": [], "annotations": {"a": "later"}})
    partition = CutPartition.of(later, document.digest, [document])
    await replica.store.put({ProvenanceKey(document.digest): Provenances((later,))})
    assert await replica.partitions.find(MODEL, document.digest, ALICE) is None
    await replica.store.put({later.key(MODEL): partition})
    assert await replica.partitions.find(MODEL, document.digest, ALICE) == partition
    assert await replica.partitions.find(MODEL, document.digest, ALICE, by_us=True) is None
