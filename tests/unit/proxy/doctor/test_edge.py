import fcntl
import os
from pathlib import Path

import pytest

from proxy.config import EdgeConfig
from proxy.doctor import edge
from proxy.doctor.finding import Level
from proxy.edge.disk.directory import EdgeDirectory

MOUNTS = """\
22 1 8:1 / / rw,relatime - ext4 /dev/root rw
40 22 0:40 / /srv rw - nfs4 store:/export rw
41 40 8:17 / /srv/edge\\040disk rw - xfs /dev/sdb1 rw
42 22 0:41 / /run rw - tmpfs tmpfs rw
"""


@pytest.mark.parametrize(
    ("directory", "level", "said"),
    [
        ("/var/lib/edge", Level.OK, "is on ext4"),
        ("/srv/edge", Level.PROBLEM, "is on nfs4, where locks"),
        ("/srv/edge disk/a", Level.OK, "is on xfs"),
        ("/run/edge", Level.WARNING, "is on tmpfs: what is kept there ends with the machine"),
        ("/running", Level.OK, "is on ext4"),
    ],
)
def test_the_file_system_is_of_this_machine(directory: str, level: Level, said: str) -> None:
    finding = edge.file_system(Path(directory), MOUNTS)
    assert finding.level is level
    assert said in finding.sentence


def test_the_kernels_own_list_is_read(tmp_path: Path) -> None:
    assert "an unknown" not in edge.file_system(tmp_path, Path("/proc/self/mountinfo").read_text()).sentence


def test_a_directory_that_can_be_used_is_left_as_it_was(tmp_path: Path) -> None:
    EdgeDirectory.open(tmp_path / "edge")
    before = sorted(tmp_path.rglob("*"))
    findings = edge.check_edge(EdgeConfig(directory=tmp_path / "edge", min_free=0))
    assert {one.check for one in findings} == {"edge"}
    assert len(findings) == 4
    assert not [one for one in findings if one.level is Level.PROBLEM]
    assert sorted(tmp_path.rglob("*")) == before


def test_a_directory_that_is_not_there_is_not_made(tmp_path: Path) -> None:
    assert len(edge.check_edge(EdgeConfig(directory=tmp_path / "a" / "b"))) == 2
    assert not list(tmp_path.iterdir())
    assert edge.check_edge(EdgeConfig()) == []


def test_a_directory_that_cannot_be_used(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    (finding,) = edge.check_edge(EdgeConfig(directory=tmp_path / "file"))
    assert finding.level is Level.PROBLEM
    assert "Not a directory" in finding.sentence


def test_a_bound_beyond_the_disk(tmp_path: Path) -> None:
    config = EdgeConfig(directory=tmp_path, max_size=2**60)
    finding = edge.room(config, tmp_path)
    assert finding.level is Level.WARNING
    assert "is more than that" in finding.sentence


def test_a_disk_without_room_unless_content_has_it(tmp_path: Path) -> None:
    config = EdgeConfig(directory=tmp_path, min_free=2**60)
    assert "hardly room" in edge.room(config, tmp_path).sentence
    (EdgeDirectory.open(tmp_path).contents("sha256") / ("0" * 64)).touch()
    assert edge.room(config, tmp_path).level is Level.OK


def test_locks_that_do_not_hold(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert edge.locks(tmp_path).level is Level.OK
    monkeypatch.setattr(fcntl, "flock", lambda *_: None)
    assert "two processes get the same lock" in edge.locks(tmp_path).sentence
    assert not list(tmp_path.iterdir())


def test_a_file_system_without_links(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "link", refuse)
    finding = edge.locks(tmp_path)
    assert finding.level is Level.PROBLEM
    assert "links, shared memory and fsync: Operation not permitted" in finding.sentence
    assert not list(tmp_path.iterdir())


def test_a_clock_that_began_in_the_past(tmp_path: Path) -> None:
    state = EdgeDirectory(tmp_path).state
    state.touch()
    written = state.stat().st_mtime
    assert edge.clock(tmp_path, written).level is Level.OK
    finding = edge.clock(tmp_path, written - 86_400)
    assert finding.level is Level.WARNING
    assert "86,400 s behind" in finding.sentence
