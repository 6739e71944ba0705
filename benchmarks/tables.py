"""The tables of ``docs/performance.md``, from ``results/*.json``: ``TABLES`` has a function for each benchmark."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Final

from benchmarks.build.outcome import build_tables
from benchmarks.edge.tables import tables as edge
from benchmarks.fleet.forecast import BUSY
from benchmarks.markdown import table

Json = Any
_LOOK_UPS: Final = ("hot_us", "anywhere_us", "during_the_scan_us")


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
    yield "So many nodes are at it all the time:"
    yield _pulls_at_once(content["levels"], "concurrent")
    yield "All begin at the same moment:"
    yield _pulls_at_once(content["bursts"], "nodes")
    memory = content["memory"]
    yield "What it takes:"
    yield table(
        ("what", "takes", "of"),
        [
            ("a question to the registry", f"{content['registry']['cpu_us_per_request']:,.0f} µs", "the registry"),
            ("a process that has pulled before, at rest", _mib(memory["resident_bytes"]), "memory"),
            ("an idle client connection", f"{memory['bytes_per_idle_connection'] / 1000:.1f} kB", "memory"),
            (
                f"both bursts of {content['bursts'][0]['nodes']:,} nodes, kept for the next time",
                f"{_mib(memory['resident_bytes_after_bursts'] - memory['resident_bytes'])} more",
                "memory",
            ),
            ("a cell of a field that is in use", f"{memory['bytes_per_field_cell']} bytes", "memory"),
        ],
        words=3,
    )
    needs = [(kind, need) for kind, of in content["forecast"].items() for need in of]
    yield (
        f"Extrapolated to {needs[0][1]['nodes']:,} nodes from the dearest row of each kind: processes = pulls a second "
        f"x processor time a pull, each used to {100 * BUSY:.0f} %. It assumes that replicas share nothing but Redis "
        "and the registry, which holds as long as these keep up; it was not run with so many nodes, nor over a network."
    )
    yield table(
        ("credentials", "all within", "proxy processes", "requests/s to the registry", "cores of the registry"),
        [
            (
                kind,
                f"{need['seconds']} s",
                f"{need['proxy_processes']}",
                f"{need['registry_requests_per_second']:,.0f}",
                f"{need['registry_cores']:.1f}",
            )
            for kind, need in needs
        ],
        words=2,
    )


def _pulls_at_once(runs: Iterable[Json], nodes: str) -> str:
    headings = ("credentials", "nodes", "pulls/s", "requests/s", "request p50 ms", "request p99 ms", "pull p99 ms")
    return table(
        (*headings, "proxy CPU ms/pull", "proxy CPU µs/request", "requests to the registry/pull", "tried again"),
        [
            (
                of["kind"],
                f"{of[nodes]:,}",
                f"{of['pulls_per_second']:.0f}",
                f"{of['requests_per_second']:,.0f}",
                f"{of['request_p50_ms']:,.0f}",
                f"{of['request_p99_ms']:,.0f}",
                f"{of['pull_p99_ms']:,.0f}",
                f"{of['proxy_cpu_ms_per_pull']:.2f}",
                f"{of['proxy_cpu_us_per_request']:.0f}",
                f"{of['registry_requests_per_pull']:.1f}",
                f"{of['retries']}",
            )
            for of in runs
        ],
    )


def _registries(content: Json) -> Iterator[str]:
    load = content["load"]
    yield f"{load['hanging']} requests wait meanwhile; {load['rounds']} rounds of {load['seconds']} seconds for each."
    yield table(
        ("GET manifest", "when", "requests/s", "p50 ms", "p99 ms", "ratio of p50", "ratio of p99", "proxy CPU µs"),
        [
            (
                name,
                when,
                f"{of['requests_per_second']:,.0f}",
                f"{of['p50_ms']:.2f}",
                f"{of['p99_ms']:.2f}",
                f"{of['p50_ratio']:.2f}",
                f"{of['p99_ratio']:.2f}",
                f"{of['proxy_cpu_us_per_request']:.0f}",
            )
            for name, situations in content["targets"].items()
            for when, of in situations.items()
        ],
        words=2,
    )


def _edge_store(content: Json) -> Iterator[str]:
    yield f"A directory with {content['blobs']:,} blobs; look-ups at the median, and at the 99th percentile:"
    yield table(
        ("state", "start s", "scan s", "a hot blob µs", "any blob µs", "any, during the scan µs"),
        [
            (
                of["state"],
                f"{of['start_s']:.2f}",
                f"{of['scan_s']:.1f}",
                *(f"{of[key]['p50']:,.0f}/{of[key]['p99']:,.0f}" for key in _LOOK_UPS),
            )
            for of in content["stores"]
        ],
    )


def _mib(size: float) -> str:
    return f"{size / 2**20:.0f} MiB"


TABLES: Final[Mapping[str, Callable[[Json], Iterator[str]]]] = {
    "manifests": _manifests,
    "fields": _fields,
    "blobs": _blobs,
    "pulls": _pulls,
    "build": build_tables,
    "soak": _soak,
    "fleet": _fleet,
    "registries": _registries,
    "edge": edge,
    "edge_store": _edge_store,
}
