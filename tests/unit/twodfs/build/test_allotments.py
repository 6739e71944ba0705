import hashlib
import os
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager
from io import FileIO
from pathlib import Path

import pytest

from twodfs.build import keys
from twodfs.build.allotments import KEYS_NAME, BuiltAllotment, Method, make_allotments
from twodfs.errors import BuildError, BuildFileError
from twodfs.field.allotment import Allotment
from twodfs.layers import layer
from twodfs.layers.build_file.cells import Cell, Copy
from twodfs.layers.build_file.file import BuildFile
from twodfs.layers.build_file.origin import FileOrigin
from twodfs.layers.compression import Compression, Packing
from twodfs.layers.members import Member
from twodfs.progress import Advance, silent
from twodfs.storage.store import ImageStore

AUTO = Packing()


class Heard:
    """A ``Progress`` that keeps which steps there were."""

    def __init__(self) -> None:
        self.steps: list[str] = []

    def step(self, label: str, total: int | None = None) -> AbstractContextManager[Advance]:
        del total
        return self._step(label)

    @contextmanager
    def _step(self, label: str) -> Iterator[Advance]:
        self.steps.append(label.removeprefix("allotment "))
        yield silent

    def note(self, text: str) -> None: ...


class Workshop:
    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.store = ImageStore(directory / "store")

    def write(self, name: str, content: bytes) -> None:
        (self.directory / name).write_bytes(content)
        old = time.time_ns() - 10**9
        os.utime(self.directory / name, ns=(old, old))

    def build(
        self, *names: str, packing: Packing = AUTO, checksum: bool = False, jobs: int = 2
    ) -> tuple[list[str], tuple[Allotment, ...]]:
        """Return which allotments were built, and all of them."""
        cells = [
            Cell(0, col, (Copy(self.directory / name, name, f"allotments[{col}].src"),))
            for col, name in enumerate(names)
        ]
        heard = Heard()
        told: list[BuiltAllotment] = []
        time.sleep(0.03)  # a file that has just changed is not remembered
        method = Method(packing, jobs, checksum)
        with self.store.in_use():
            recipe = BuildFile(tuple(cells))
            made = make_allotments(recipe, method, self.store, heard, told.append)
            allotments = tuple(made.values())
        assert sorted(one.allotment.col for one in told) == list(range(len(names)))
        for one in allotments:
            assert self.store.is_sound(one.digest, one.size or 0)
        return sorted(step.partition(",")[0] for step in heard.steps), allotments


@pytest.fixture
def workshop(tmp_path: Path) -> Workshop:
    workshop = Workshop(tmp_path)
    for name in "abc":
        workshop.write(name, name.encode() * 100_000)
    return workshop


def test_what_has_not_changed_is_not_read(workshop: Workshop, monkeypatch: pytest.MonkeyPatch) -> None:
    built, first = workshop.build("a", "b", "c")
    assert built == ["0/0", "0/1", "0/2"]
    monkeypatch.setattr(layer, "_opened", None)
    assert workshop.build("a", "b", "c") == ([], first)
    workshop.write("a", b"a")
    with pytest.raises(TypeError):
        workshop.build("a", "b", "c")


def test_one_changed_file_rebuilds_one_allotment(workshop: Workshop) -> None:
    _, first = workshop.build("a", "b", "c")
    workshop.write("b", b"B" * 100_000)
    built, second = workshop.build("a", "b", "c")
    assert built == ["0/1"]
    assert [one.digest == other.digest for one, other in zip(first, second, strict=True)] == [
        True,
        False,
        True,
    ]


def test_a_change_that_keeps_size_and_time_is_seen(workshop: Workshop) -> None:
    workshop.build("a")
    before = (workshop.directory / "a").stat()
    (workshop.directory / "a").write_bytes(b"A" * 100_000)
    os.utime(workshop.directory / "a", ns=(before.st_atime_ns, before.st_mtime_ns))
    assert (workshop.build("a"))[0] == ["0/0"]


@pytest.mark.parametrize("checksum", [False, True])
def test_what_changes_while_it_is_read_is_neither_stored_nor_remembered(
    workshop: Workshop, monkeypatch: pytest.MonkeyPatch, *, checksum: bool
) -> None:
    path = workshop.directory / "a"

    def opened_and_replaced(_member: Member) -> FileIO:
        file = path.open("rb", buffering=0)
        workshop.write("new", b"A" * 100_000)
        (workshop.directory / "new").replace(path)
        return file

    monkeypatch.setattr(layer, "_opened", opened_and_replaced)
    with pytest.raises(BuildError, match="/a changed while it was read"):
        workshop.build("a", checksum=checksum)
    assert [one for one in (workshop.store.directory / "blobs").rglob("*") if one.is_file()] == []


def test_other_parameters_build_another_layer(workshop: Workshop) -> None:
    for packing in (Packing(), Packing(Compression.NONE), Packing(Compression.GZIP, 9)):
        assert (workshop.build("a", packing=packing))[0] == ["0/0"]
        assert (workshop.build("a", packing=packing))[0] == []


def test_checksums_go_by_content_alone(workshop: Workshop) -> None:
    _, first = workshop.build("a", "b")
    os.utime(workshop.directory / "a")
    assert workshop.build("a", "b", checksum=True) == ([], first)
    assert workshop.build("a", "b") == ([], first)


def test_a_file_that_has_just_changed_is_not_remembered(workshop: Workshop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keys, "SETTLED_NS", 10**12)
    for _ in range(2):
        assert (workshop.build("a"))[0] == ["0/0"]


def test_a_file_dated_tomorrow_is_remembered(workshop: Workshop) -> None:
    tomorrow = time.time_ns() + 10**14
    os.utime(workshop.directory / "a", ns=(tomorrow, tomorrow))
    assert (workshop.build("a"))[0] == ["0/0"]
    assert (workshop.build("a"))[0] == []


@pytest.mark.parametrize("damage", ["flipped", "truncated", "gone"])
def test_a_damaged_blob_is_built_again(workshop: Workshop, damage: str) -> None:
    _, first = workshop.build("a", "b")
    path = workshop.store.path(first[0].digest)
    content = path.read_bytes()
    if damage == "gone":
        path.unlink()
    else:
        path.write_bytes(content[:-1] if damage == "truncated" else content[:-1] + b"?")
    assert workshop.build("a", "b") == (["0/0"], first)
    assert path.read_bytes() == content


def test_checksums_find_a_bit_that_flipped_on_the_disk(workshop: Workshop) -> None:
    _, first = workshop.build("a", "b")
    path = workshop.store.path(first[0].digest)
    path.write_bytes(path.read_bytes()[:-1] + b"?")
    os.utime(path, ns=(0, 0))
    assert workshop.build("a", "b", checksum=True) == (["0/0"], first)


def test_a_damaged_key_cache_begins_anew(workshop: Workshop) -> None:
    _, first = workshop.build("a", "b")
    for damaged in (b"no database" * 1000, b""):
        (workshop.store.directory / KEYS_NAME).write_bytes(damaged)
        assert workshop.build("a", "b") == (["0/0", "0/1"], first)
        assert workshop.build("a", "b") == ([], first)


def rot_its_pages(path: Path) -> None:
    with path.open("r+b") as file:
        file.seek(4096)
        file.write(os.urandom(path.stat().st_size - 4096))


def rot_a_row(path: Path) -> None:
    content = path.read_bytes()
    at = content.index(b"sha256:") + 70
    path.write_bytes(content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :])


def put_another_table(path: Path, version: int = keys.VERSION) -> None:
    path.unlink()
    with closing(sqlite3.connect(path)) as database:
        database.execute("CREATE TABLE layers (id INTEGER PRIMARY KEY)")
        database.execute(f"PRAGMA user_version={version}")


def put_a_view(path: Path) -> None:
    path.unlink()
    with closing(sqlite3.connect(path)) as database:
        database.execute("CREATE VIEW layers AS SELECT 1")


@pytest.mark.parametrize(
    "damage",
    [
        rot_its_pages,
        rot_a_row,
        put_another_table,
        lambda path: put_another_table(path, 0),
        lambda path: put_another_table(path, 9),
        put_a_view,
    ],
)
def test_a_key_cache_that_rots_begins_anew_as_soon_as_it_shows(
    workshop: Workshop, damage: Callable[[Path], None]
) -> None:
    _, first = workshop.build("a", "b")
    damage(workshop.store.directory / KEYS_NAME)
    built, second = workshop.build("a", "b")
    assert (built != [], second) == (True, first)
    workshop.build("a", "b")
    assert workshop.build("a", "b") == ([], first)


def test_a_key_cache_that_is_locked_is_left_alone(workshop: Workshop, monkeypatch: pytest.MonkeyPatch) -> None:
    workshop.build("a")
    monkeypatch.setattr(keys, "LOCK_TIMEOUT", 0.0)
    path = workshop.store.directory / KEYS_NAME
    before = path.stat().st_ino
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(BuildError, match="database is locked; if it stays so, remove that file"):
            workshop.build("b")
    assert path.stat().st_ino == before


def test_any_number_of_workers_gives_the_same(workshop: Workshop, tmp_path: Path) -> None:
    _, first = workshop.build("a", "b", "c", jobs=1)
    other = Workshop(tmp_path / "other")
    other.directory = workshop.directory
    _, second = other.build("a", "b", "c", jobs=8)
    assert first == second


def test_overlapping_allotments_are_named(workshop: Workshop) -> None:
    cells = (
        Cell(0, col, (Copy(workshop.directory / name, "same", f"allotments[{col}].src"),))
        for col, name in enumerate("ab")
    )
    recipe = BuildFile(tuple(cells), origin=FileOrigin("2dfs.json"))
    with pytest.raises(BuildFileError) as failed:
        make_allotments(recipe, Method(Packing(), 2), workshop.store, Heard(), lambda _: None)
    assert str(failed.value) == (
        "2dfs.json: '/same' comes twice: first in 'allotments[0].src', then in 'allotments[1].src'"
    )


def test_a_plain_allotment_is_its_tar(workshop: Workshop) -> None:
    _, (made,) = workshop.build("a", packing=Packing(Compression.NONE))
    assert made.digest == made.diff_id
    content = workshop.store.path(made.digest).read_bytes()
    assert made.digest == f"sha256:{hashlib.sha256(content).hexdigest()}"
