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
from benchmarks.edge.tables import tables as edge
from benchmarks.markdown import joined, table

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
    yield from _TABLES[name](content)
    yield f"**What limits:** {words['limits']}"
    if name in DRAWN:
        yield f"![{words['title']}]({_FROM_PAGE}/{name}.svg)"
    yield f"Measured on {_machine(content)}."


def _machine(content: Json) -> str:
    if "machine" in content:  # builds tell what limits them
        of = content["machine"]
        return (
            f"{of['processors']} processors, Python {of['python']}; SHA-256 {of['sha256']:,.0f} MB/s, write "
            f"{of['write']:,.0f} MB/s, bare interpreter {1000 * of['interpreter']:.0f} ms"
        )
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


def _manifests(content: Json) -> Iterator[str]:
    load = content["load"]
    yield f"{load['connections']} connections, {load['rounds']} rounds of {load['seconds']} seconds for each."
    yield table(
        ("GET manifest", "requests/s", "ratio", "p50 ms", "p99 ms", "proxy CPU µs", "registry CPU µs"),
        [
            (
                name,
                f"{of['requests_per_second']:,.0f}",
                f"{of['ratio']:.2f}",
                f"{of['p50_ms']:.2f}",
                f"{of['p99_ms']:.2f}",
                f"{of['proxy_cpu_us_per_request']:.0f}",
                f"{of['registry_cpu_us_per_request']:.0f}",
            )
            for name, of in content["targets"].items()
        ],
    )
    if "alone" in content:
        yield "One connection, so nobody waits for anybody else:"
        rows = [
            (name, f"{of['p50_ms']:.2f}", f"{of['p99_ms']:.2f}", f"{of['more_ms']:+.2f}")
            for name, of in content["alone"].items()
        ]
        yield table(("GET manifest", "p50 ms", "p99 ms", "more than the registry, ms"), rows)


def _fields(content: Json) -> Iterator[str]:
    headings = ("cells", "first ms", "another ms", "same again ms", "registry's plain ms", "memory MiB")
    yield table(
        (*headings, "others p50/p99 ms", "beside a burner", "during the first"),
        [
            (
                f"{of['cells']:,}",
                f"{of['first_ms']:.1f}",
                f"{of['another_ms']:.2f}",
                f"{of['same_ms']:.2f}",
                f"{of['registry_plain_ms']:.2f}",
                f"{of['resident_bytes'] / 2**20:.1f}",
                _both(of["others_quiet"]),
                _both(of.get("others_beside_a_burner")),
                _both(of["others_meanwhile"]),
            )
            for of in content["fields"]
        ],
    )


def _both(of: Mapping[str, float] | None) -> str:
    return "" if of is None else f"{of['p50_ms']:.2f}/{of['p99_ms']:.2f}"


def _blobs(content: Json) -> Iterator[str]:
    load = content["load"]
    yield f"{load['rounds']} rounds of {load['mebibytes']:,} MiB for each."
    yield table(
        ("upstream", "streams", "through", "MiB/s", "ratio", "CPU s/GiB", "ratio of CPU"),
        [
            (
                title,
                count,
                name,
                f"{of['mib_per_second']:,.0f}",
                f"{of['throughput_ratio']:.2f}",
                f"{of['cpu_s_per_gib']:.3f}",
                f"{of['cpu_ratio']:.2f}",
            )
            for title, counts in content["upstreams"].items()
            for count, results in counts.items()
            for name, of in results.items()
        ],
    )
    if "slow" in content:
        yield "Slow downloads at once, and clients that pull a partition meanwhile:"
        headings = (
            "relay",
            "downloads",
            "idle MiB",
            "resident MiB",
            "peak MiB",
            "manifests p99 ms",
            "before",
        )
        rows = [
            (
                relay,
                f"{of['streams']:,}",
                f"{of['resident_idle_mib']:.0f}",
                f"{of['resident_mib']:.0f}",
                f"{of['peak_mib']:.0f}",
                f"{of['manifests_meanwhile']['p99_ms']:.1f}",
                f"{of['manifests_alone']['p99_ms']:.1f}",
            )
            for relay, of in content["slow"].items()
        ]
        yield table(headings, rows)


def _pulls(content: Json) -> Iterator[str]:
    yield f"{content['rounds']} rounds."
    rows = [
        (
            name,
            f"{of['median_ms']:.1f}",
            f"{of['more_ms']:+.1f}",
            f"{of['fastest_ms']:.1f}",
            f"{of['slowest_ms']:.1f}",
        )
        for name, of in content["pulls"].items()
    ]
    yield table(("docker pull", "median ms", "more ms", "fastest ms", "slowest ms"), rows)


def _build(content: Json) -> Iterator[str]:
    for model in content["models"]:
        contenders = model["seconds"]
        yield f"{model['model']}, {model['bytes'] / 1e6:.0f} MB in {model['splits']} splits, seconds:"
        rows = [
            (situation, *(f"{taken[situation]:.2f}" for taken in contenders.values()))
            for situation in next(iter(contenders.values()))
        ]
        yield table(("changed", *contenders), rows)


def _soak(content: Json) -> Iterator[str]:
    headings = (
        "GiB",
        "requests",
        "rounds",
        "memory MiB",
        "open files",
        "memory grew",
    )
    first, last = content["readings"][0], content["readings"][-1]
    row = (
        f"{last['gibibytes']:.1f}",
        f"{last['requests']:,}",
        f"{len(content['readings'])}",
        f"{first['mebibytes']:.1f} to {last['mebibytes']:.1f}",
        f"{first['files']} to {last['files']}",
        f"{content['memory_growth_mib']:+.1f} MiB",
    )
    yield table(headings, [row])


def _fleet(content: Json) -> Iterator[str]:
    yield table(
        ("credentials", "nodes", "pulls/s", "requests/s", "pull p50 ms", "pull p99 ms", "proxy CPU ms/pull"),
        [
            (
                of["kind"],
                f"{of['concurrent']:,}",
                f"{of['pulls_per_second']:.0f}",
                f"{of['requests_per_second']:,.0f}",
                f"{of['pull_p50_ms']:.0f}",
                f"{of['pull_p99_ms']:.0f}",
                f"{of['proxy_cpu_ms_per_pull']:.2f}",
            )
            for of in content["levels"]
        ],
    )


_TABLES: Final = {
    "manifests": _manifests,
    "fields": _fields,
    "blobs": _blobs,
    "pulls": _pulls,
    "build": _build,
    "soak": _soak,
    "fleet": _fleet,
    "edge": edge,
}


if __name__ == "__main__":
    main()
