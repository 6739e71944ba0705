"""The tour of docs/edge.md, command by command; ports and places are the test's own."""

import re
from pathlib import Path

import pytest

from tests.lab.peers import require
from tests.lab.tours import Step, own_places, steps, walk

PAGE = (Path(__file__).parents[2] / "docs" / "edge.md").read_text()
TOUR = PAGE.partition("## Five-minute tour")[2].partition("\n## ")[0]


@pytest.fixture
def said(tmp_path: Path) -> list[str]:
    """Each command of the tour, its status, and what it printed, after the set-up."""
    require("docker-registry", "skopeo")
    setup, *shown = steps(TOUR)
    places = own_places(tmp_path / "registry")
    assert all(one in setup.command for one in places)
    tour = [setup, *(one for one in shown if "…" not in one.command)]
    _, *gone = walk(tour, tmp_path, places=places, after=_settled)
    return [f"{one.step.command}\n{one.printed}status {one.status}\n" for one in gone]


def _settled(step: Step) -> str:
    """Return what waits until a command has had its effect, as people do without noticing."""
    if step.command.startswith("docker-registry"):
        return "until curl -sf 127.0.0.1:5001/v2/ >/dev/null; do sleep 0.05; done"
    if step.command.startswith("kill"):
        return "until curl -s 127.0.0.1:9464/readyz | grep -q 'cannot be reached'; do sleep 0.05; done"
    return ""


def test_the_tour_goes_as_the_page_says(said: list[str]) -> None:
    pulls = [one for one in said if one.startswith("skopeo")]
    assert ["status 0" in one for one in pulls] == [True, True, True, False, True]
    (fetched,) = (one for one in said if one.startswith("grep"))
    assert re.findall(r"^ +(\d+) \"GET", fetched, re.MULTILINE) == ["1"] * 6
    (tag,) = (one for one in said if one.startswith("curl -sI"))
    assert "HTTP/1.1 200 OK" in tag
    assert 'Warning: 110 - "Response is Stale"' in tag
    (ready,) = (one for one in said if "readyz" in one)
    assert '"status":"ready","upstream":"the registry at' in ready
    (stats,) = (one for one in said if "cache stats" in one)
    assert re.search(r"allotment +16\.8 MB", stats)
    (images,) = (one for one in said if "cache ls" in one)
    assert re.search(r"library/model:v1--0\.0\.1\.1 .*complete", images)
