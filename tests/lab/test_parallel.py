"""Tests that run side by side, and who is to run alone; and tests that were started with SIGINT ignored."""

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

_REPOSITORY = Path(__file__).parents[2]
_LASTING = """
import os, time
from pathlib import Path
import pytest

def last(name):
    began = time.monotonic()
    time.sleep(0.15)
    with Path({times!r}).open("a") as file:
        file.write(f"{{name}} {{began}} {{time.monotonic()}} {{os.environ['PYTEST_XDIST_WORKER']}}\\n")

@pytest.mark.parametrize("at", range(4))
def test_beside_others(at):
    last("beside")

@pytest.mark.parametrize("engine", ["docker_engine"])
def test_an_engine(engine):
    last("engine")

@pytest.mark.alone(reason="it is a test of being alone")
def test_alone():
    last("alone")

@pytest.mark.parametrize("at", range(4))
def test_beside_others_again(at):
    last("beside")
"""
_SEES_SIGINT = """
import signal, subprocess, sys

def test_sigint_interrupts_us_and_what_we_start():
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    child = "import signal; print(signal.getsignal(signal.SIGINT) is signal.default_int_handler)"
    assert subprocess.check_output([sys.executable, "-c", child]) == b"True\\n"
"""


@dataclass(frozen=True, slots=True)
class Lasted:
    name: str
    began: float
    ended: float
    process: str

    def overlaps(self, other: "Lasted") -> bool:
        return self is not other and self.began < other.ended and other.began < self.ended


def test_who_is_to_be_alone_is_and_engines_have_one_process(tmp_path: Path) -> None:
    times = tmp_path / "times"
    for name in ("one", "two"):
        (tmp_path / f"test_{name}.py").write_text(_LASTING.format(times=str(times)))
    done = _run(tmp_path, "-n", "2", "--dist", "loadfile", "--no-loadscope-reorder")
    assert done.returncode == 0, done.stdout
    lasted = [
        Lasted(name, float(began), float(ended), process)
        for name, began, ended, process in map(str.split, times.read_text().splitlines())
    ]
    assert len(lasted) == 20
    alone = [one for one in lasted if one.name == "alone"]
    assert len(alone) == 2
    assert not [other for one in alone for other in lasted if one.overlaps(other)]
    assert [other for one in lasted for other in lasted if one.overlaps(other)]
    assert len({one.process for one in lasted if one.name == "engine"}) == 1


def test_sigint_is_as_by_default_where_who_started_us_ignores_it(tmp_path: Path) -> None:
    (tmp_path / "test_sees.py").write_text(_SEES_SIGINT)
    done = _run(tmp_path, under=("bash", "-c", "trap '' INT; exec \"$@\"", "bash"))
    assert done.returncode == 0, done.stdout


def _run(directory: Path, *arguments: str, under: tuple[str, ...] = ()) -> subprocess.CompletedProcess[str]:
    plugins = ("-p", "tests.lab.parallel", "-p", "tests.lab.loops", "-p", "no:cacheprovider")
    where = (
        "-c",
        os.devnull,
        "--rootdir",
        str(directory),
        "--basetemp",
        str(directory / "t"),
        str(directory),
    )
    return subprocess.run(
        [*under, sys.executable, "-m", "pytest", "-q", *plugins, *arguments, *where],
        cwd=_REPOSITORY,
        env={name: value for name, value in os.environ.items() if not name.startswith("PYTEST_XDIST")},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
        timeout=120,
    )
