import os
import re
import struct
import subprocess
import sys
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

from benchmarks.plots import Panel, Plot, Point, fingerprint, point, write_plot

LINES = [
    ("2DFS", [Point(10, 0.4, 0.3, 0.5), Point(100, 0.6, 0.5, 0.9)]),
    ("Docker", [Point(10, 2, 1.9, 2.5), Point(100, 40, 38, 50)]),
]
PLOT = Plot("builds", [Panel("ResNet50", "images", "seconds", LINES, logarithmic=True)])
BARS = Plot("bars", [Panel("Bytes", "", "MB", [("2DFS", [point(0, 3)]), ("Docker", [point(0, 12)])])])


def texts(svg: Path) -> list[str]:
    return [one.text or "" for one in ET.parse(svg).iter("{http://www.w3.org/2000/svg}text")]


def test_the_same_values_give_the_same_files(tmp_path: Path) -> None:
    for name in ("one", "other"):
        write_plot(PLOT, tmp_path / name)
    for kind in ("svg", "png"):
        drawn = [(tmp_path / name / f"builds.{kind}").read_bytes() for name in ("one", "other")]
        assert drawn[0] == drawn[1]


def test_a_drawing_tells_what_was_drawn(tmp_path: Path) -> None:
    write_plot(PLOT, tmp_path)
    other = Plot("builds", [Panel("ResNet50", "images", "seconds", LINES[:1], logarithmic=True)])
    assert fingerprint(PLOT) in (tmp_path / "builds.svg").read_text()
    assert fingerprint(other) not in (tmp_path / "builds.svg").read_text()


def test_axes_contenders_and_titles_are_named(tmp_path: Path) -> None:
    write_plot(PLOT, tmp_path)
    assert {"ResNet50", "images", "seconds", "2DFS", "Docker", "1", "10"} <= set(texts(tmp_path / "builds.svg"))


def test_one_value_for_each_contender_is_drawn_as_bars_with_their_values(tmp_path: Path) -> None:
    write_plot(BARS, tmp_path)
    assert {"3", "12"} <= set(texts(tmp_path / "bars.svg"))


def test_groups_of_bars_have_names(tmp_path: Path) -> None:
    lines = [(name, [point(0, 1), point(1, 2)]) for name in ("2DFS", "Docker")]
    write_plot(Plot("groups", [Panel("", "", "MB", lines, groups=("small", "large"))]), tmp_path)
    assert {"small", "large"} <= set(texts(tmp_path / "groups.svg"))


@pytest.mark.parametrize("panels", [1, 2, 3, 4, 7])
def test_pictures_are_as_wide_as_a_page_and_small(panels: int, tmp_path: Path) -> None:
    write_plot(Plot("wide", [*PLOT.panels] * panels), tmp_path)
    content = (tmp_path / "wide.png").read_bytes()
    width, _ = struct.unpack(">II", content[16:24])
    assert 500 <= width <= 1100
    assert len(content) < 80_000


def test_contenders_differ_without_colour(tmp_path: Path) -> None:
    write_plot(PLOT, tmp_path)
    markers = re.findall(r'<path id="m[^"]+" d="([^"]+)" style="stroke: #[^0]', (tmp_path / "builds.svg").read_text())
    assert len(set(markers)) >= 2


def test_nothing_is_written_into_the_home(tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    script = """
from pathlib import Path
from benchmarks.plots import Panel, Plot, point, write_plot
write_plot(Plot("x", [Panel("", "", "", [("a", [point(0, 1)])])]), Path("out"))
"""
    environment = {"HOME": str(home), "PATH": os.environ["PATH"], "PYTHONPATH": str(Path.cwd())}
    subprocess.run([sys.executable, "-c", script], check=True, cwd=tmp_path, env=environment)
    assert (tmp_path / "out" / "x.svg").exists()
    assert not list(home.iterdir())
