"""Records in the state of an edge directory; ``tests/unit/proxy/store/test_store.py`` has what every store does."""

from pathlib import Path
from typing import Any

from proxy.edge.disk.records import DiskRecords
from proxy.edge.disk.store import EdgeStore
from proxy.partitions.records import Content, ContentKey, Provenance, ProvenanceKey, Provenances
from proxy.store.records import Record, RecordKey
from tests.lab.edge import new_content, opened_store
from tests.lab.records import PARTITION, PROVENANCE_KEY, RECORDS, REPOSITORY, SELECTION, SIZE_KEY
from twodfs.oci.digest import digest_of

SECRET = b"secret"


def new_document(size: int) -> dict[RecordKey[Any], Record]:
    digest, content = new_content(size)
    return {ContentKey(REPOSITORY, digest): Content(content)}


def provenance_of(name: bytes) -> dict[RecordKey[Any], Record]:
    return {ProvenanceKey(digest_of(name)): Provenances((Provenance(digest_of(b"source"), SELECTION),))}


async def size_of(store: EdgeStore) -> int:
    return int(await store.state.read(lambda c: c.execute("SELECT sum(size) FROM records").fetchone()[0]))


async def test_every_record_outlives_a_restart(tmp_path: Path) -> None:
    async with opened_store(tmp_path) as store:
        assert await store.records.put(RECORDS)
    async with opened_store(tmp_path) as store:
        for key, record in RECORDS.items():
            assert await store.records.get(key) == record


async def test_the_documents_of_a_partition_are_among_the_content(tmp_path: Path) -> None:
    async with opened_store(tmp_path) as store:
        await store.records.put(RECORDS)
        for digest, document in PARTITION.documents.items():
            assert await store.blobs.read(digest, 2**20) == document.body


async def test_a_record_that_was_changed_is_missing_and_goes(tmp_path: Path) -> None:
    async with opened_store(tmp_path) as store:
        await store.records.put(RECORDS)
        await store.state.run(lambda c: c.execute("UPDATE records SET sealed = substr(sealed, 2)"))
        for key in RECORDS:
            assert await store.records.get(key) is None
        await store.records.put({SIZE_KEY: RECORDS[SIZE_KEY]})
        await store.state.run(lambda c: c.execute("UPDATE records SET sealed = 'text'"))
        assert await store.records.get(SIZE_KEY) is None
        assert await store.state.read(lambda c: c.execute("SELECT count(*) FROM records").fetchone()) == (0,)


async def test_a_record_of_another_directory_is_none_of_ours(tmp_path: Path) -> None:
    async with opened_store(tmp_path) as store:
        await DiskRecords(store.state, store.blobs, b"of another", most_bytes=2**20).put(RECORDS)
        assert await store.records.get(PROVENANCE_KEY) is None


async def test_the_oldest_goes_first_and_what_lasts_goes_last(tmp_path: Path) -> None:
    async with opened_store(tmp_path) as store:
        records = DiskRecords(store.state, store.blobs, SECRET, most_bytes=50_000)
        lasting = provenance_of(b"first")
        old, used, new = (new_document(9000) for _ in range(3))
        for part in (lasting, old, used, new):
            assert await records.put(part)
        assert await records.get(*used) is not None
        await records.write_uses()
        for _ in range(4):
            assert await records.put(new_document(9000))
        assert await size_of(store) <= 50_000
        assert await records.get(*old) is None
        assert await records.get(*new) is None
        assert await records.get(*used) is not None
        for _ in range(5):
            await records.put(new_document(9000))
        assert await records.get(*lasting) is not None
        # Of what lasts alone, the oldest goes too.
        for number in range(300):
            await records.put(provenance_of(b"%d" % number))
        assert await records.get(*lasting) is None
        assert await size_of(store) <= 50_000


async def test_a_record_that_is_too_large_is_not_kept_and_removes_nothing(tmp_path: Path) -> None:
    async with opened_store(tmp_path) as store:
        records = DiskRecords(store.state, store.blobs, SECRET, most_bytes=10_000)
        small, large = new_document(1000), new_document(5000)
        assert await records.put(small)
        assert not await records.put(large)
        assert await records.get(*small) is not None
        assert await records.get(*large) is None


async def test_large_records_come_back_too(tmp_path: Path) -> None:
    async with opened_store(tmp_path) as store:
        large = new_document(600 * 1024)
        assert await store.records.put(large)
        assert {key: await store.records.get(key) for key in large} == large


async def test_a_state_that_fails_raises_nothing(tmp_path: Path) -> None:
    async with opened_store(tmp_path) as store:
        await store.state.run(lambda c: c.execute("DROP TABLE records"))
        assert not await store.records.put(RECORDS)
        assert await store.records.get(SIZE_KEY) is None
        await store.records.write_uses()
