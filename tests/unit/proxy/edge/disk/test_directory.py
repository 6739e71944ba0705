"""The edge directory, made where it is missing."""

import json
import os
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from proxy.config.edge import EdgeConfig
from proxy.edge.disk.directory import EdgeDirectory, EdgeError
from proxy.edge.disk.store import EdgeStore
from tests.lab.edge import opened_store, stored


def test_a_new_directory_is_its_owners_alone_and_an_oci_layout(tmp_path: Path) -> None:
    directory = EdgeDirectory.open(tmp_path / "deep" / "edge")
    assert stat.S_IMODE(directory.root.stat().st_mode) == 0o700
    assert json.loads((directory.root / "oci-layout").read_bytes()) == {"imageLayoutVersion": "1.0.0"}
    assert directory.contents("sha256").is_dir()


def test_a_directory_that_was_there_keeps_its_rights(tmp_path: Path) -> None:
    (tmp_path / "edge").mkdir(mode=0o750)
    before = (tmp_path / "edge").stat().st_mode
    EdgeDirectory.open(tmp_path / "edge")
    assert (tmp_path / "edge").stat().st_mode == before


async def test_no_file_is_for_everybody(tmp_path: Path) -> None:
    umask = os.umask(0)
    try:
        async with opened_store(tmp_path / "edge") as store:
            await stored(store, b"content")
            store.directory.admin_token()
            await store.listing.write()
            files = [path for path in store.directory.root.rglob("*") if path.is_file()]
            assert {"secret", "admin-token", "index.json"} <= {path.name for path in files}
            private = [path for path in files if "sqlite" not in path.name]
            assert [path for path in private if path.stat().st_mode & 0o007] == []
    finally:
        os.umask(umask)


def test_the_secret_is_made_once_by_many_and_never_again(tmp_path: Path) -> None:
    with ThreadPoolExecutor(16) as threads:
        secrets = set(threads.map(lambda _: EdgeDirectory.open(tmp_path).secret(), range(64)))
    assert len(secrets) == 1
    assert EdgeDirectory.open(tmp_path).secret() in secrets
    assert len(EdgeDirectory.open(tmp_path).admin_token()) >= 43
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


@pytest.mark.parametrize("place", ["a file", "a file/edge"])
async def test_what_is_no_directory_is_told_with_what_to_do(tmp_path: Path, place: str) -> None:
    (tmp_path / "a file").touch()
    with pytest.raises(EdgeError, match=r"edge\.directory .*a file.* cannot be used"):
        async with EdgeStore.open(EdgeConfig(directory=tmp_path / place)):
            pass


async def test_a_state_that_cannot_be_opened_is_told(tmp_path: Path) -> None:
    EdgeDirectory.open(tmp_path).state.mkdir()
    with pytest.raises(EdgeError, match="cannot be used"):
        async with opened_store(tmp_path):
            pass
