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
def releases(podman_engine: Podman, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, Path]]:
    """Make the release twice, with different clocks, places and umasks."""
    directory = tmp_path_factory.mktemp("release")
    archive = python_base(directory, for_builds=True)
    podman_engine.import_root(archive, BASE)
    archive.unlink()
    made = []
    for name, zone, umask in (("one", "UTC", 0o022), ("two", "Asia/Tokyo", 0o077)):
        argv = (sys.executable, "deploy/release/release.py", "--out", str(directory / name), "--base", BASE)
        variables = {**podman_engine.environment, "TZ": zone}
        ended = subprocess.run(
            argv,
            cwd=ROOT,
            env=variables,
            capture_output=True,
            text=True,
            umask=umask,
            timeout=300,
            check=False,
        )
        assert ended.returncode == 0, ended.stderr
        made.append(directory / name)
    yield made[0], made[1]
    podman_engine.remove(BASE)


@pytest.fixture(scope="session")
def release(releases: tuple[Path, Path]) -> Path:
    """One of the two releases."""
    return releases[0]
