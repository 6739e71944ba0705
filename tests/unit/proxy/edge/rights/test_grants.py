"""Which content a yes of the registry covers, for whom, how long, and in which process."""

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from proxy.auth.identity import Identity, service
from proxy.edge.disk.state import State
from proxy.edge.rights import acceptances, grants
from proxy.edge.rights.acceptances import Acceptances
from proxy.edge.rights.grants import EdgeGrants
from proxy.edge.rights.names import Names
from proxy.edge.rights.places import Places
from proxy.repository import DEFAULT_UPSTREAM, Repository
from twodfs.oci.digest import Digest, digest_of
from twodfs.oci.documents import OCI_CONFIG, OCI_INDEX, OCI_LAYER, OCI_MANIFEST, Document

MODEL, OTHER = (Repository(DEFAULT_UPSTREAM, name) for name in ("team/model", "team/other"))
ALICE, BOB = (Identity.of({"Authorization": f"Bearer {name}"}) for name in ("alice", "bob"))
CONFIG, LAYER, FOREIGN = (digest_of(name) for name in (b"config", b"layer", b"foreign"))
MANIFEST = Document.of(
    OCI_MANIFEST,
    {
        "schemaVersion": 2,
        "config": {"mediaType": OCI_CONFIG, "digest": CONFIG, "size": 6},
        "layers": [{"mediaType": OCI_LAYER, "digest": LAYER, "size": 5}],
    },
)
INDEX = Document.of(OCI_INDEX, {"schemaVersion": 2, "manifests": [MANIFEST.descriptor]})


class Worker:
    """The rights of one process of a node."""

    def __init__(self, grants: EdgeGrants, names: Names, places: Places, acceptances: Acceptances) -> None:
        self.grants, self.names, self.places, self.acceptances = grants, names, places, acceptances

    async def allowed(self, identity: Identity, digest: Digest, repository: Repository = MODEL) -> None:
        await self.grants.remember(identity, repository, digest, time.monotonic())

    async def pulled(self, repository: Repository = MODEL) -> None:
        """Everything of the image came from the registry, under ``repository``."""
        for document in (INDEX, MANIFEST):
            await self.names.name_document(repository, document)
        await self.places.remember(repository, (INDEX.digest, MANIFEST.digest, CONFIG, LAYER))


@contextlib.asynccontextmanager
async def worker(
    directory: Path, *, ttl: float = 60, good_for: float = 60, secret: bytes = b""
) -> AsyncIterator[Worker]:
    async with State.open(directory / "state.sqlite", ()) as state:
        names, places = await Names.open(state), await Places.open(state)
        accepted = await Acceptances.open(state, secret or b"secret", good_for=good_for)
        granted = await EdgeGrants.open(ttl, state, acceptances=accepted, names=names, places=places, is_shared=True)
        yield Worker(granted, names, places, accepted)


def bytes_in(directory: Path) -> bytes:
    return b"".join(file.read_bytes() for file in directory.iterdir())


async def test_a_yes_for_an_image_covers_what_it_names_and_only_that(tmp_path: Path) -> None:
    async with worker(tmp_path) as node:
        await node.pulled()
        await node.places.remember(MODEL, (FOREIGN,))
        await node.allowed(ALICE, INDEX.digest)
        for digest in (INDEX.digest, MANIFEST.digest, CONFIG, LAYER):
            assert await node.grants.covers(ALICE, MODEL, digest)
            assert not await node.grants.covers(BOB, MODEL, digest)
            assert not await node.grants.covers(ALICE, OTHER, digest)
        assert not await node.grants.covers(ALICE, MODEL, FOREIGN)


async def test_a_yes_for_a_manifest_does_not_cover_the_index_that_names_it(tmp_path: Path) -> None:
    async with worker(tmp_path) as node:
        await node.pulled()
        await node.allowed(ALICE, MANIFEST.digest)
        assert await node.grants.covers(ALICE, MODEL, LAYER)
        assert not await node.grants.covers(ALICE, MODEL, INDEX.digest)


async def test_a_manifest_that_names_a_blob_of_another_repository_does_not_open_it(tmp_path: Path) -> None:
    async with worker(tmp_path) as node:
        await node.pulled(OTHER)
        await node.names.name_document(MODEL, MANIFEST)
        await node.allowed(ALICE, MANIFEST.digest)
        assert not await node.grants.covers(ALICE, MODEL, LAYER)
        await node.places.remember(MODEL, (LAYER,))
        assert await node.grants.covers(ALICE, MODEL, LAYER)


async def test_a_partition_is_covered_by_its_source(tmp_path: Path) -> None:
    source = digest_of(b"source")
    async with worker(tmp_path) as node:
        await node.names.name_partition(MODEL, source, (INDEX, MANIFEST))
        await node.places.remember(MODEL, (LAYER,))
        await node.allowed(ALICE, source)
        assert await node.grants.covers(ALICE, MODEL, LAYER)
        assert not await node.grants.covers(BOB, MODEL, LAYER)


async def test_workers_share_a_yes_and_a_write_ends_it(tmp_path: Path) -> None:
    async with worker(tmp_path) as one, worker(tmp_path) as other:
        await one.pulled()
        await one.allowed(ALICE, INDEX.digest)
        assert await other.grants.covers(ALICE, MODEL, LAYER)
        assert not await other.grants.covers(BOB, MODEL, LAYER)
        await one.grants.forget(MODEL)
        async with worker(tmp_path) as third:
            assert not await third.grants.covers(ALICE, MODEL, LAYER)


async def test_a_yes_ends_in_every_worker_when_its_time_is_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with worker(tmp_path) as one, worker(tmp_path) as other:
        await one.pulled()
        await one.allowed(ALICE, INDEX.digest)
        now, clock = time.time(), time.monotonic()
        monkeypatch.setattr(time, "time", lambda: now + 61)
        monkeypatch.setattr(time, "monotonic", lambda: clock + 61)
        assert not await one.grants.covers(ALICE, MODEL, LAYER)
        assert not await other.grants.covers(ALICE, MODEL, LAYER)


async def test_a_clock_that_is_set_back_prolongs_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with worker(tmp_path) as one, worker(tmp_path) as other:
        await one.pulled()
        await one.allowed(ALICE, INDEX.digest)
        now = time.time()
        monkeypatch.setattr(time, "time", lambda: now - 3600)
        assert not await other.grants.covers(ALICE, MODEL, LAYER)


async def test_without_a_time_for_grants_every_pull_asks(tmp_path: Path) -> None:
    async with worker(tmp_path, ttl=0) as node:
        await node.pulled()
        await node.allowed(ALICE, INDEX.digest)
        assert not await node.grants.covers(ALICE, MODEL, LAYER)
        assert await node.acceptances.is_accepted_lately(ALICE, MODEL)


async def test_a_client_that_the_proxy_let_in_needs_no_yes_but_the_content_must_be_of_that_repository(
    tmp_path: Path,
) -> None:
    admitted = service({MODEL: frozenset({"pull"})}, "client")
    async with worker(tmp_path) as node:
        assert not await node.grants.covers(admitted, MODEL, LAYER)
        await node.pulled()
        assert await node.grants.covers(admitted, MODEL, LAYER)
        assert not await node.grants.covers(admitted, OTHER, LAYER)
        await node.allowed(admitted, INDEX.digest)
        assert not await node.acceptances.is_accepted_lately(service({}, "client"), MODEL)


async def test_the_registrys_yes_outlives_the_process_for_the_same_credentials_and_repository(tmp_path: Path) -> None:
    async with worker(tmp_path) as node:
        await node.allowed(ALICE, INDEX.digest)
    async with worker(tmp_path) as node:
        assert await node.acceptances.is_accepted_lately(ALICE, MODEL)
        assert not await node.acceptances.is_accepted_lately(ALICE, OTHER)
        assert not await node.acceptances.is_accepted_lately(BOB, MODEL)


async def test_a_no_ends_it_and_so_does_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with worker(tmp_path) as node:
        await node.allowed(ALICE, INDEX.digest)
        await node.acceptances.refused(ALICE, MODEL)
        assert not await node.acceptances.is_accepted_lately(ALICE, MODEL)
        await node.allowed(ALICE, INDEX.digest)
        assert await node.acceptances.is_accepted_lately(ALICE, MODEL)
        now = time.time()
        monkeypatch.setattr(time, "time", lambda: now + 61)
        assert not await node.acceptances.is_accepted_lately(ALICE, MODEL)


async def test_a_box_that_starts_in_the_past_knows_its_clients(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = time.time()
    async with worker(tmp_path) as node:
        await node.allowed(ALICE, INDEX.digest)
    for behind, is_known in ((30, True), (3600, False)):
        monkeypatch.setattr(time, "time", lambda: now - behind)  # noqa: B023 - used at once
        async with worker(tmp_path) as node:
            assert await node.acceptances.is_accepted_lately(ALICE, MODEL) is is_known


async def test_another_secret_knows_nobody_and_the_file_shows_no_credentials(tmp_path: Path) -> None:
    async with worker(tmp_path) as node:
        await node.allowed(ALICE, INDEX.digest)
        written = bytes_in(tmp_path)
        assert b"team/model" in written
        assert b"alice" not in written
    async with worker(tmp_path, secret=b"another") as node:
        assert not await node.acceptances.is_accepted_lately(ALICE, MODEL)


async def test_content_of_thousands_of_partitions_is_decided_in_one_look(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with worker(tmp_path) as node:
        await node.pulled()
        for number in range(1200):
            cut = Document.of(OCI_MANIFEST, {**json.loads(MANIFEST.body), "annotations": {"number": str(number)}})
            await node.names.name_partition(MODEL, INDEX.digest, (cut,))
        assert len(node.names.known_parents(MODEL, LAYER)) < 100
        await node.allowed(ALICE, INDEX.digest)
        looks = 0

        def counted(ask: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
            async def asked(*given: Any) -> Any:
                nonlocal looks
                looks += 1
                return await ask(*given)

            return asked

        for name in ("run", "read"):
            monkeypatch.setattr(State, name, counted(getattr(State, name)))
        assert await node.grants.covers(ALICE, MODEL, LAYER)
        assert not await node.grants.covers(BOB, MODEL, LAYER)
        assert looks < 10


async def test_a_size_that_the_state_cannot_tell_is_the_registrys_to_tell(tmp_path: Path) -> None:
    async with worker(tmp_path) as node, State.open(tmp_path / "state.sqlite", ()) as other:
        await node.pulled()
        assert await node.names.size(MODEL, LAYER) == 5
        await other.run(lambda connection: connection.execute("DROP TABLE names"))
        assert await node.names.size(MODEL, LAYER) is None


async def test_what_counts_no_more_goes_while_the_node_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (acceptances, grants):
        monkeypatch.setattr(module, "_SWEPT_EVERY", 10)
    async with worker(tmp_path, ttl=0.05, good_for=0.05) as node:
        for number in range(30):
            await node.allowed(Identity.of({"Authorization": f"Bearer {number}"}), INDEX.digest)
        await asyncio.sleep(0.1)
        for number in range(30, 50):
            await node.allowed(Identity.of({"Authorization": f"Bearer {number}"}), INDEX.digest)
        async with State.open(tmp_path / "state.sqlite", ()) as state:
            for table in ("grants", "acceptances"):
                query = f"SELECT count(*) FROM {table}"
                ((left,),) = await state.read(lambda c, query=query: c.execute(query).fetchall())  # type: ignore[misc]
                assert left <= 20, table
