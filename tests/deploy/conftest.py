"""What several tests of the deployment need."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.lab.engines import Podman
from tests.lab.python_base import python_base

ROOT = Path(__file__).parents[2]
BASE = "localhost/lab/release-base:1"


@pytest.fixture(scope="session")
def release(podman_engine: Podman, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Where `make release` put its files."""
    directory = tmp_path_factory.mktemp("release")
    archive = python_base(directory, for_builds=True)
    podman_engine.import_root(archive, BASE)
    archive.unlink()
    make_release(podman_engine, directory / "one", zone="UTC", umask=0o022)
    yield directory / "one"
    podman_engine.remove(BASE)


def make_release(podman: Podman, out: Path, *, zone: str, umask: int) -> None:
    """Make a release with a base that Podman has."""
    argv = (sys.executable, "deploy/release/release.py", "--out", str(out), "--base", BASE)
    ended = subprocess.run(
        argv,
        cwd=ROOT,
        env={**podman.environment, "TZ": zone},
        capture_output=True,
        text=True,
        umask=umask,
        timeout=300,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
