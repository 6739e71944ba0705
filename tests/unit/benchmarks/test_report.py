import json
import re
import tomllib
from pathlib import Path

import pytest

from benchmarks.aims import reached
from benchmarks.drawings import DRAWN, drawing
from benchmarks.markdown import anchor
from benchmarks.plots import fingerprint
from benchmarks.report import PAGE, RESULTS, WORDS, page


def test_the_page_is_what_the_results_say() -> None:
    assert PAGE.read_text(encoding="utf-8") == page(RESULTS), "run `make performance-docs`"


def test_the_page_links_to_files_that_exist() -> None:
    targets = re.findall(r"\]\(([^)]+)\)", PAGE.read_text(encoding="utf-8"))
    assert targets
    assert not [one for one in targets if not (PAGE.parent / one.partition("#")[0]).exists()]


def test_sections_that_other_pages_link_to_are_there() -> None:
    headings = re.findall(r"^#+ (.+)$", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    pages = "".join(one.read_text(encoding="utf-8") for one in PAGE.parent.rglob("*.md"))
    named = set(re.findall(rf"\({PAGE.name}#([^)]+)\)", pages))
    assert named
    assert named <= set(map(anchor, headings))


def test_no_sentence_has_a_figure_of_its_own() -> None:
    for name, words in tomllib.loads(WORDS.read_text(encoding="utf-8")).items():
        for key in ("about", "limits"):
            assert not re.search(r"\d", words[key].replace("SHA-256", "")), f"{name}.{key}"


def test_what_was_not_measured_is_left_out(tmp_path: Path) -> None:
    (tmp_path / "pulls.json").write_text((RESULTS / "pulls.json").read_text())
    written = page(tmp_path)
    assert "## Pulls by Docker" in written
    assert "## Manifests" not in written
    assert "Warm partition" not in written
    assert "## Profiles" not in written


@pytest.mark.parametrize(
    ("more", "is_met"),
    [(4.9, True), (5.1, False)],
)
def test_an_aim_says_whether_it_was_met(more: float, is_met: bool) -> None:  # noqa: FBT001 - a parameter
    results = {"pulls": {"pulls": {"partition": {"more_ms": more}, "partition, cold": {"more_ms": 1.0}}}}
    warm, cold = reached(results)
    assert (warm.is_met, cold.is_met) == (is_met, True)
    assert warm.reached == f"{more} ms"


def test_a_soak_is_told_by_its_ends(tmp_path: Path) -> None:
    readings = [
        {"gibibytes": 2.0, "requests": 30_000, "mebibytes": 60.0, "files": 20},
        {"gibibytes": 20.5, "requests": 120_000, "mebibytes": 62.5, "files": 21},
    ]
    content = {
        "environment": {"cpus": 2, "cpu": "x", "load_before": 0.1, "python": "3.11", "versions": {}},
        "readings": readings,
        "memory_growth_mib": 2.5,
        "memory_margin_mib": 16.0,
        "files_growth": 1,
        "files_margin": 8,
    }
    (tmp_path / "soak.json").write_text(json.dumps(content))
    written = page(tmp_path)
    assert "| 20.5 | 120,000 | 2 | 60.0 to 62.5 | 20 to 21 | +2.5 MiB |" in written
    assert "**no**" not in written


@pytest.mark.parametrize("name", DRAWN)
def test_the_plots_show_what_the_results_say(name: str) -> None:
    content = json.loads((RESULTS / f"{name}.json").read_text())
    drawn = (RESULTS / f"{name}.svg").read_text()
    assert fingerprint(drawing(name, content)) in drawn, "run `make performance-docs`"
