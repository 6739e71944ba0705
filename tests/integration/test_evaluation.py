"""`make evaluate` works, with all its parts: how fast this machine is is not asked."""

import csv
import os
import re
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks.evaluation.__main__ import RESULTS
from benchmarks.evaluation.document import PLOTS
from benchmarks.evaluation.part import Part
from benchmarks.evaluation.parts import PARTS
from benchmarks.evaluation.results.samples import Sample, read_samples
from benchmarks.evaluation.results.summary import Summary
from tests.lab.peers import require
from tests.lab.todays_root import place

COMMAND = (sys.executable, "-m", "benchmarks.evaluation", "--quick")
every_part = pytest.mark.parametrize("part", PARTS, ids=lambda part: part.name)


@pytest.fixture(scope="module")
def output(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What a quick run of all parts wrote."""
    require("docker-registry")
    place()
    directory = tmp_path_factory.mktemp("evaluation")
    ended = subprocess.run(
        [*COMMAND, "--output", str(directory)],
        stderr=subprocess.PIPE,
        text=True,
        check=False,
        timeout=400,
    )
    assert not ended.returncode, ended.stderr[-5000:]
    return directory


@every_part
def test_every_part_measures_and_its_times_and_sizes_are_positive(output: Path, part: Part) -> None:
    samples = [
        one
        for one in read_samples(output / "raw", part.name)
        if one.measure == "seconds" or one.measure.endswith("bytes")
    ]
    assert samples
    assert not [one for one in samples if one.value <= 0]


@every_part
def test_every_contender_that_was_ever_measured_takes_part(output: Path, part: Part) -> None:
    measured = {one.contender for one in read_samples(output / "raw", part.name)}
    assert {row.contender for row in Summary.read(RESULTS).rows if row.part == part.name} <= measured
    assert {row.contender for row in Summary.read(output / "evaluation.json").rows if row.part == part.name} == measured


@every_part
def test_the_page_shows_every_part_and_all_of_its_contenders(output: Path, part: Part) -> None:
    page = (output / "evaluation.md").read_text()
    section = page.partition(f"\n## {part.title}\n")[2].partition("\n## ")[0]
    shown = [*re.findall(r"\]\((.+?\.svg)\)", section), *re.findall(r"\]\((.+?\.png)\)", section)]
    assert shown, "no plots"
    assert all((output / one).stat().st_size for one in shown)
    drawn = "".join((output / one).read_text() for one in shown if one.endswith(".svg"))
    for contender in {one.contender for one in read_samples(output / "raw", part.name)}:
        assert contender in section + drawn, contender


def test_all_plots_are_shown(output: Path) -> None:
    page = (output / "evaluation.md").read_text()
    assert not [one.name for one in (output / PLOTS).iterdir() if f"({PLOTS}/{one.name})" not in page]


@pytest.fixture
def scratch() -> Iterator[Path]:
    """A directory whose name is short enough for sockets in it."""
    with tempfile.TemporaryDirectory(prefix="evaluation-") as directory:
        yield Path(directory)


def test_ctrl_c_stops_all_servers_and_leaves_whole_lines(scratch: Path) -> None:
    require("docker-registry")
    place()
    running = subprocess.Popen(
        [*COMMAND, "--output", str(scratch / "out")],
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "TMPDIR": str(scratch)},
    )
    with running:
        assert running.stderr is not None
        for line in running.stderr:
            if line.startswith("round "):
                assert processes_in(scratch)
                running.send_signal(signal.SIGINT)
                break
        assert "interrupted" in running.stderr.read()
    assert running.returncode == 130
    assert not processes_in(scratch)
    assert not list(scratch.glob("twodfs-*"))
    for file in (scratch / "out" / "raw").glob("*.csv"):
        assert file.read_text().endswith("\n")
        with file.open(newline="") as lines:
            assert {len(row) for row in csv.reader(lines)} == {len(Sample.__slots__)}


def processes_in(directory: Path) -> list[str]:
    """Return the command lines of the processes that have to do with files of a directory, ours excepted."""
    found = []
    for file in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = file.read_bytes().split(b"\0")
        except (FileNotFoundError, ProcessLookupError):
            continue
        if str(directory).encode() in b" ".join(words) and b"benchmarks.evaluation" not in words:
            found.append(b" ".join(words).decode())
    return found
