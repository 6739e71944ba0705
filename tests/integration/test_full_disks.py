"""A store on a disk without room, or of somebody else: `twodfs` says what is wrong, and mends the first."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.lab.mounts import runtime_directory
from tests.lab.workshop import SOURCE, Done, Workshop


@pytest.fixture
def disk() -> Iterator[Path]:
    """A file system of two megabytes."""
    with runtime_directory() as directory:
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "lab", str(directory)], check=True)
        yield directory


def fill(disk: Path) -> None:
    with (disk / "filler").open("ab", buffering=0) as filler:
        for size in (4096, 1):
            try:
                while True:
                    filler.write(bytes(size))
            except OSError:
                continue
    assert os.statvfs(disk).f_bavail == 0


def build(workshop: Workshop, store: Path, name: str) -> str:
    target = workshop.target(name)
    (workshop.directory / "a.bin").write_bytes(os.urandom(100_000))
    workshop.made("build", "scratch", target, "--quiet", store=store)
    return target


def test_a_store_without_room_is_mended_with_rm_and_prune(workshop: Workshop, disk: Path) -> None:
    store = disk / "store"
    old, new = (build(workshop, store, f"full/{number}") for number in range(2))
    (store / "tmp" / "left").write_bytes(b"by a run that was killed")
    fill(disk)
    (workshop.directory / "a.bin").write_bytes(os.urandom(300_000))
    refused = workshop.twodfs("build", "scratch", workshop.target("full/more"), store=store)
    assert (refused.status, refused.err.count("\n")) == (1, 1)
    assert "cannot write the store" in refused.err
    assert "'twodfs prune'" in refused.err
    assert "'twodfs rm'" in refused.err
    fill(disk)
    assert workshop.made("rm", old, store=store).out == f"{old}\n"
    fill(disk)
    left = workshop.made("images", "--json", store=store).json["images"]
    assert [one["reference"] for one in left] == [new]
    pruned = workshop.made("prune", "--max-size", "0", "--json", store=store).json
    assert pruned["freedBytes"] > 100_000
    assert not list((store / "tmp").iterdir())
    fill(disk)
    pruned = workshop.made("prune", "--max-size", "0", "--images", "--json", store=store).json
    assert pruned["images"] == [new]
    assert not list(store.glob("blobs/*/*"))
    (disk / "filler").unlink()
    assert build(workshop, store, "full/again")


def test_a_prune_with_nothing_to_remove_is_no_error_on_a_full_disk(workshop: Workshop, disk: Path) -> None:
    target = build(workshop, disk / "store", "full/needed")
    workshop.made("prune", "--max-size", "0", store=disk / "store")  # the config of its base
    fill(disk)
    assert workshop.made("prune", "--max-size", "0", "--json", store=disk / "store").json["blobs"] == 0
    assert target in workshop.made("images", store=disk / "store").out


def as_a_stranger(store: Path | None, *arguments: str) -> Done:
    """Run `twodfs` as a user without rights and without a name; what it imports is loaded before."""
    program = (
        "import os, pkgutil, importlib, sys, twodfs, twodfs.cli\n"
        "for one in pkgutil.walk_packages(twodfs.__path__, 'twodfs.'):\n"
        "    if not one.name.endswith('__main__'):\n"
        "        importlib.import_module(one.name)\n"
        "os.setgroups([]); os.setgid(54321); os.setuid(54321)\n"
        "sys.argv[0] = 'twodfs'\n"
        "twodfs.cli.main()\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(SOURCE), "XDG_CACHE_HOME": ""}
    environment |= {"TWODFS_STORE": str(store)} if store else {}
    del environment["HOME"]
    ended = subprocess.run(
        [sys.executable, "-c", program, *arguments],
        cwd="/",
        env={name: value for name, value in environment.items() if name != "TWODFS_STORE" or str(store) != "."},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    return Done(ended.returncode, ended.stdout, ended.stderr)


def test_a_store_of_another_user_is_read_and_what_would_write_says_whose_it_is(workshop: Workshop) -> None:
    with runtime_directory() as directory:
        directory.chmod(0o755)
        store = directory / "store"
        target = build(workshop, store, "full/strange")
        (directory / "2dfs.json").write_text('{"allotments": [{"src": "2dfs.json", "dst": "/a", "row": 0, "col": 0}]}')
        (directory / "2dfs.json").chmod(0o644)
        file = str(directory / "2dfs.json")
        whose = "it belongs to the user with the id 0, and yours is 54321; TWODFS_STORE names another"
        for verb, *arguments in (
            ("read", "inspect", target),
            ("read", "export", f"{target}--all", "/tmp/none.tar"),
            ("written", "rm", target),
            ("written", "prune", "--max-size", "0"),
            # The base cannot be read, nor the keys of allotments written; both are tried at the same time.
            ("(read|written)", "build", "scratch", target, "-f", file),
        ):
            done = as_a_stranger(store, *arguments)
            assert (done.status, done.out, done.err.count("\n")) == (1, "", 1), done.err
            assert re.search(f"twodfs: the store {re.escape(str(store))} cannot be {verb}: ", done.err), done.err
            assert whose in done.err
        assert whose in as_a_stranger(store, "images").out
        for blob in store.glob("blobs/sha256/*"):
            blob.chmod(0o644)
        assert "3 allotments" in as_a_stranger(store, "images").out
        assert as_a_stranger(store, "inspect", target).status == 0
        done = as_a_stranger(store, "build", "scratch", target, "-f", file)
        assert (done.status, f"twodfs: the store {store} cannot be written: " in done.err) == (1, True)
        assert whose in done.err
        store.chmod(0o700)
        for words in (["images"], ["inspect", target]):
            done = as_a_stranger(store, *words)
            assert (done.status, done.err) == (
                1,
                f"twodfs: cannot use {store} as a store: Permission denied; TWODFS_STORE names another\n",
            )


def test_a_user_without_home_and_name_is_told_what_to_set() -> None:
    done = as_a_stranger(None, "images")
    assert (done.status, done.err) == (
        1,
        "twodfs: there is no home directory for the store; TWODFS_STORE names one\n",
    )
