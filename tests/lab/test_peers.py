from pathlib import Path

import pytest

from tests.lab import programs
from tests.lab.peers import require


def test_a_missing_program_fails_the_test(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TWODFS_TEST_WITHOUT", raising=False)
    with pytest.raises(pytest.fail.Exception, match=r"no-such-program .* run tests/lab/install-peers\.sh"):
        require("sh", "no-such-program")


def test_a_program_that_is_to_be_done_without_skips_the_test(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TWODFS_TEST_WITHOUT", "other, no-such-program")
    with pytest.raises(pytest.skip.Exception, match="TWODFS_TEST_WITHOUT names no-such-program"):
        require("no-such-program")


def test_debians_docker_comes_before_any_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    require("docker")
    impostor = tmp_path / "docker"
    impostor.touch(mode=0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert programs.program("docker") == "/usr/bin/docker"


def test_a_program_elsewhere_in_path_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "only-here").touch(mode=0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert programs.program("only-here") == str(tmp_path / "only-here")
