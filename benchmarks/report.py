"""``docs/performance.md`` and its plots, from ``results/*.json`` and ``report.toml``: `make performance-docs`.

The words are in ``report.toml``. A section whose result file is not there is left out.
"""

from __future__ import annotations

import json
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from benchmarks.aims import Aim, reached
from benchmarks.drawings import DRAWN, draw
from benchmarks.markdown import joined, table
from benchmarks.tables import TABLES

DIRECTORY: Final = Path(__file__).parent
RESULTS: Final = DIRECTORY / "results"
WORDS: Final = DIRECTORY / "report.toml"
PAGE: Final = DIRECTORY.parent / "docs" / "performance.md"
# Where the page finds the plots.
_FROM_PAGE: Final = "../benchmarks/results"
_PROFILES: Final = {
    "partition": "a warm partition, each client with credentials of its own",
    "partition-tag-ttl": "a warm partition whose tag is trusted for a second",
    "pass-through": "a plain manifest",
}
_HEAD: Final = """\
# Performance

<!-- Written by `make performance-docs` from benchmarks/results/; do not edit. -->

Every figure here was measured by the commands named, which are described in
[benchmarks/README.md](../benchmarks/README.md). Contenders take turns in one run on one machine, which they
share with the client and the registry: compare the figures of a section with each other, not with another
machine's. `make bench-all` measures everything anew and writes this page."""
_DECISIONS: Final = """\
## Decided by measurement

- [The standard event loop, not uvloop](decisions/0005-asyncio-not-uvloop.md), for every worker.
- [Workers share one listening socket, and need Redis](decisions/0004-workers-share-one-socket.md)."""

Json = dict[str, Any]


def main() -> None:
    """Write the page, and draw its plots."""
    for name in DRAWN:
        draw(name, _read(RESULTS, name), RESULTS)
    PAGE.write_text(page(RESULTS), encoding="utf-8")


def page(results: Path) -> str:
    """Return the page for the files in ``results``."""
    words = tomllib.loads(WORDS.read_text(encoding="utf-8"))
    found = {name: _read(results, name) for name in words if (results / f"{name}.json").exists()}
    parts = [_HEAD, *_overview(reached(found))]
    for name, content in found.items():
        parts += _section(name, words[name], content)
    parts += [_DECISIONS, *_profiles(results)]
    return joined(parts)


def _read(results: Path, name: str) -> Json:
    content: Json = json.loads((results / f"{name}.json").read_text(encoding="utf-8"))
    return content


def _overview(aims: Iterable[Aim]) -> Iterator[str]:
    rows = [(one.what, one.aim, one.reached, "yes" if one.is_met else "**no**") for one in aims]
    if rows:
        yield "## Aims"
        yield table(("what", "aim", "reached", "met"), rows)


def _section(name: str, words: Mapping[str, str], content: Json) -> Iterator[str]:
    yield f"## {words['title']}"
    yield f"`{words['command']}`. {words['about']}"
    yield from TABLES[name](content)
    yield f"**What limits:** {words['limits']}"
    if name in DRAWN:
        yield f"![{words['title']}]({_FROM_PAGE}/{name}.svg)"
    yield f"Measured on {_machine(content)}."


def _machine(content: Json) -> str:
    of = content["environment"]
    versions = ", ".join(f"{name} {version}" for name, version in of["versions"].items())
    return (
        f"{of['cpus']} processors ({of['cpu']}), load {of['load_before']} before the run; "
        f"Python {of['python']}, {versions}{_network(of)}"
    )


def _network(of: Json) -> str:
    control = of.get("congestion_control")
    return f"; congestion control {control}" if control else ""


def _profiles(results: Path) -> Iterator[str]:
    drawn = [name for name in _PROFILES if (results / f"profile-{name}.svg").exists()]
    if drawn:
        yield "## Profiles"
        yield "`make bench-profile`. Where the proxy's processor time goes, as flame graphs and as text:"
        yield "\n".join(
            f"- {_PROFILES[name]}: [graph]({_FROM_PAGE}/profile-{name}.svg), [text]({_FROM_PAGE}/profile-{name}.txt)"
            for name in drawn
        )


if __name__ == "__main__":
    main()
