import os
import sqlite3
from pathlib import Path

import pytest

from tests.lab.edge_commands import cache_command, run_command


def made(edge: Path) -> Path:
    (edge / "blobs/sha256").mkdir(parents=True)
    (edge / "oci-layout").write_text('{"imageLayoutVersion":"1.0.0"}')
    return edge


@pytest.mark.skipif(os.geteuid() != 0, reason="gives files away")
def test_root_leaves_the_directory_of_another_user_alone(tmp_path: Path) -> None:
    edge = made(tmp_path / "edge")
    sqlite3.connect(edge / "state.sqlite").close()
    os.chown(edge / "state.sqlite", 54_321, -1)
    done = cache_command(edge, "ls")
    assert done.status == 1
    assert "belongs to #54321, as whom the node runs: run this with 'sudo -u #54321'" in done.err
    assert not (edge / "secret").exists()


def test_a_state_that_is_damaged_is_put_aside_and_the_content_is_still_there(tmp_path: Path) -> None:
    edge = made(tmp_path / "edge")
    (edge / "state.sqlite").write_bytes(b"no database, by far" * 1000)
    (edge / "blobs/sha256/ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad").write_bytes(b"abc")
    done = run_command("cache", "verify", "--edge", edge, "--json")
    assert (done.status, done.json["blobs"]) == (0, 1), done.err
