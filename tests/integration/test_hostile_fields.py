"""The command line reads fields made to fill the memory: as the real command, its memory measured."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.lab.fields import large_field, push_bare_field
from tests.lab.layers import Blob
from tests.lab.registry import Registry
from twodfs.oci.documents import FIELD_LAYER
from twodfs.oci.image_config import MAX_CONFIG_BYTES

_RUN = """
import resource, subprocess, sys
ended = subprocess.run(sys.argv[1:], capture_output=True, text=True)
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss // 1024)
print(ended.returncode)
print(len(ended.stdout))
print(ended.stderr)
"""
MIB = 2**20
EMPTY = Blob(b'{"more":[' + b",".join([b"[]"] * 15_000_000) + b'],"rows":[]}', FIELD_LAYER)


def measured(*arguments: str, home: Path) -> tuple[int, int, int, str]:
    """Run `twodfs`; return its most memory in MiB, its status, the length of its output, and its errors."""
    command = [sys.executable, "-c", _RUN, sys.executable, "-m", "twodfs", *arguments]
    environment = {"HOME": str(home), "XDG_CACHE_HOME": str(home), "PATH": "/usr/bin:/bin"}
    ran = subprocess.run(
        command, capture_output=True, text=True, check=True, env=environment, cwd=Path(__file__).parents[2]
    )
    peak, status, length, errors = ran.stdout.split("\n", 3)
    return int(peak), int(status), int(length), errors


@pytest.fixture(scope="module")
def crowded(registry: Registry) -> str:
    """Push a field of 45 MB that is 15 million empty arrays, and return its reference."""
    assert len(EMPTY.content) > 5 * MAX_CONFIG_BYTES
    push_bare_field(registry.url, "hostile/crowded", "v1", EMPTY)
    return f"{registry.address}/hostile/crowded:v1"


@pytest.mark.parametrize("command", ["inspect", "doctor", "export"])
def test_a_field_of_nothing_but_values_is_refused_in_little_memory(crowded: str, command: str, tmp_path: Path) -> None:
    more = [f"{crowded}--all", str(tmp_path / "x.tar")] if command == "export" else [crowded]
    peak, status, _, errors = measured(command, *more, home=tmp_path)
    assert status == 1
    assert "is not written in the usual order of keys" in errors
    assert peak < 200  # 110; it was 1,370


def test_a_field_of_many_cells_is_listed_in_bounded_memory(registry: Registry, tmp_path: Path) -> None:
    field = large_field(100, 475)
    assert len(field.content) > 10 * MIB
    push_bare_field(registry.url, "hostile/many", "v1", field)
    reference = f"{registry.address}/hostile/many:v1"
    peak, status, length, errors = measured("inspect", "--json", reference, home=tmp_path)
    assert (status, errors.strip()) == (0, "")
    assert length > 15 * MIB
    assert peak < 150
