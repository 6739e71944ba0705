from pathlib import Path

import pytest

from twodfs.storage.pushes import PushRecords


@pytest.fixture
def records(tmp_path: Path) -> PushRecords:
    return PushRecords(tmp_path)


def test_a_record_is_found_by_its_reference_alone(records: PushRecords) -> None:
    assert records.find("lab/a:v1") is None
    records.record("lab/a:v1", {"n": 1})
    records.record("lab/a:v1", {"n": 2})
    assert records.find("lab/a:v1") == {"n": 2}
    assert records.find("lab/a:v2") is None


def test_the_record_of_another_reference_does_not_count(records: PushRecords, tmp_path: Path) -> None:
    records.record("lab/a:v1", {"n": 1})
    (one,) = (tmp_path / "pushed").iterdir()
    content = one.read_bytes()
    records.record("lab/b:v1", {"n": 2})
    (other,) = (path for path in (tmp_path / "pushed").iterdir() if path != one)
    other.write_bytes(content)
    assert records.find("lab/b:v1") is None
    assert records.find("lab/a:v1") == {"n": 1}


@pytest.mark.parametrize("at", [0, 30, 70, -1])
def test_a_record_that_rots_or_is_cut_short_counts_as_none(records: PushRecords, tmp_path: Path, at: int) -> None:
    records.record("lab/a:v1", {"number": 1})
    (path,) = (tmp_path / "pushed").iterdir()
    content = path.read_bytes()
    path.write_bytes(content[:at])
    assert records.find("lab/a:v1") is None
    rotten = bytearray(content)
    rotten[at] ^= 1
    path.write_bytes(rotten)
    assert records.find("lab/a:v1") is None
    path.write_bytes(content)
    assert records.find("lab/a:v1") == {"number": 1}


def test_records_of_forgotten_images_go(records: PushRecords) -> None:
    records.keep([])
    for name in ("lab/a:v1", "lab/b:v1"):
        records.record(name, {})
    records.keep(["lab/b:v1"])
    assert (records.find("lab/a:v1"), records.find("lab/b:v1")) == (None, {})


def test_a_record_that_cannot_be_written_is_none(records: PushRecords, tmp_path: Path) -> None:
    (tmp_path / "pushed").touch()
    records.record("lab/a:v1", {})
    assert records.find("lab/a:v1") is None
