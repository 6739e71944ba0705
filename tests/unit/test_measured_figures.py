"""Figures of speed on pages that are written by hand: there are none, since nobody would measure them again.

They stand in `docs/performance.md` and `docs/evaluation.md`, which are written from results; other pages link there.
Decisions and the changelog are history, and name the commands that measured.
"""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
GENERATED = {"docs/performance.md", "docs/evaluation.md", "docs/compatibility.md"}
PAGES = sorted(
    path
    for path in (
        *ROOT.glob("*.md"),
        *ROOT.glob("docs/*.md"),
        *ROOT.glob("docs/design/*.md"),
        *ROOT.glob("benchmarks/**/*.md"),
        *ROOT.glob("deploy/**/*.md"),
        *ROOT.glob("helm/**/*.md"),
        ROOT / "config.example.toml",
        ROOT / "helm" / "twodfs-proxy" / "values.yaml",
        *ROOT.glob("deploy/**/*.toml"),
        *ROOT.glob("proxy/config/*.py"),  # what settings are for
        *ROOT.glob("twodfs/cli/**/*.py"),  # what --help says
    )
    if path.name != "CHANGELOG.md" and str(path.relative_to(ROOT)) not in GENERATED
)
_NUMBER = r"(?<![\w.:/-])\d[\d,]*(?:\.\d+)?"
FIGURE = re.compile(
    rf"{_NUMBER} ?(?:ms|µs|ns|milliseconds|microseconds)\b"  # nothing that is set is as short, but for the below
    rf"|{_NUMBER} ?(?:requests|pulls|[kMG]i?B)(?:/s\b| a second\b)"
    r"|(?<![\w.:/-])\d+\.\d+ ?(?:s|seconds)\b"
    rf"|{_NUMBER} (?:s|seconds|minutes) of (?:a|one) core\b"
    rf"|{_NUMBER} ?[kMG]i?B (?:of memory )?resident\b"
    rf"|{_NUMBER}(?:x| times) (?:faster|slower|as fast|as long|what|the time)\b"
    rf"|\b(?:took|takes|instead of|adds|costs) (?:some |about )?{_NUMBER} (?:s|seconds)\b"
)
EXCEPTIONS = {
    ("docs/design/lifetimes.md", "0.1 s"): "a bound: how soon a worker is replaced at first",
    ("docs/limits.md", "0.25 s"): "the default of `cache.redis_timeout`",
    ("docs/fuzzing.md", "600 s of one core"): "how long somebody searched, and not how fast anything is",
}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_no_page_that_is_written_by_hand_has_a_measured_figure(page: Path) -> None:
    name = str(page.relative_to(ROOT))
    text = " ".join(page.read_text(encoding="utf-8").split())
    found = {one[0] for one in FIGURE.finditer(text)}
    known = {figure for of, figure in EXCEPTIONS if of == name}
    assert found - known == set(), "link to docs/performance.md or docs/evaluation.md instead"
    assert known - found == set(), "is no longer on the page"


@pytest.mark.parametrize(
    "sentence",
    [
        "a look-up takes 0.05 ms at the median",
        "counting it costs 0.25 µs",
        "unchanged 0.32 s, now 0.12",
        "it builds in 1.5 seconds",
        "fills take 2 s of a core",
        "1,000 downloads: 236 MiB resident",
        "14.8x faster than Docker",
        "it is 25 times as fast",
        "543 pulls a second",
        "7,575 MiB/s",
        "parsing takes some 2 s",
    ],
)
def test_measured_figures_are_seen(sentence: str) -> None:
    assert FIGURE.search(sentence)


@pytest.mark.parametrize(
    "sentence",
    ["given up after 30 s", "version 1.2.3", "`tag_ttl = 0.5`", "fields up to 32 MiB", "3.5 times their bytes"],
)
def test_bounds_are_none(sentence: str) -> None:
    assert not FIGURE.search(sentence)
