"""What was to be reached, beside what was."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from operator import ge, le
from typing import Any, Final

from benchmarks.build.model_split import SPLIT
from benchmarks.build.outcome import NEWEST, OLDER, OURS
from benchmarks.models import SITUATIONS

Json = Any
_LEAST: Final = "at least"
_MOST: Final = "at most"


@dataclass(frozen=True, slots=True)
class Aim:
    """One aim, in words, and whether it was met."""

    what: str
    aim: str
    reached: str
    is_met: bool


def reached(results: Mapping[str, Json]) -> Iterator[Aim]:
    """Return the aims of every benchmark in ``results``; what one of them did not measure is left out."""
    for name, content in results.items():
        if name in _AIMS:
            yield from _AIMS[name](content)


def _aim(what: str, direction: str, bound: float, value: float, unit: str = "", *, digits: int = 2) -> Aim:
    is_met = (ge if direction == _LEAST else le)(value, bound)
    return Aim(what, f"{direction} {bound:,g}{unit}", f"{value:,.{digits}f}{unit}", is_met)


def _manifests(content: Json) -> Iterator[Aim]:
    of = content["targets"]
    fresh = "Warm partition, `tag_ttl = 0`, to the registry's own plain manifests"
    yield _aim(f"{fresh}: shared credentials", _LEAST, 1, of["partition"]["ratio"], "x")
    yield _aim(f"{fresh}: each client its own", _LEAST, 1, of["partition, unshared"]["ratio"], "x")
    yield _aim("The same, `tag_ttl = 1`", _LEAST, 3, of["partition, tag_ttl 1 s"]["ratio"], "x")
    if "alone" in content:
        more = content["alone"]["pass-through"]["more_ms"]
        yield _aim("Pass-through adds to a plain manifest, median", _MOST, 1, more, " ms")


def _fields(content: Json) -> Iterator[Aim]:
    by_cells = {one["cells"]: one for one in content["fields"]}
    if (one := by_cells.get(10_000)) is not None:
        yield _aim("Field of 10,000 cells: another partition", _MOST, 2, one["another_ms"], " ms")
        yield _aim("Field of 10,000 cells: the first partition", _MOST, 25, one["first_ms"], " ms", digits=1)
    if (one := by_cells.get(1_000_000)) is not None:
        yield _aim("Field of 1,000,000 cells: another partition", _MOST, 5, one["another_ms"], " ms")
        beside, meanwhile = one.get("others_beside_a_burner"), one["others_meanwhile"]
        if beside and meanwhile:
            what = "Field of 1,000,000 cells: others' p99 during the first, to beside any busy process"
            yield _aim(what, _MOST, 1.2, meanwhile["p99_ms"] / beside["p99_ms"], "x")


def _blobs(content: Json) -> Iterator[Aim]:
    plain = content["upstreams"]["plaintext"]
    costs = [counts["proxy"]["cpu_ratio"] for counts in plain.values()]
    yield _aim("Blobs: processor time to tuned nginx, dearest case", _MOST, 0.6, max(costs), "x")
    for count in ("1", "4"):
        ratio = plain[count]["proxy"]["throughput_ratio"]
        yield _aim(f"Blobs: throughput to tuned nginx, streams: {count}", _LEAST, 1, ratio, "x")
    if (encrypted := content["upstreams"].get("TLS")) is not None:
        ratios = [counts["proxy"]["throughput_ratio"] for counts in encrypted.values()]
        yield _aim("Blobs over TLS: throughput to tuned nginx, slowest case", _LEAST, 0.9, min(ratios), "x")
    if "slow" in content:
        one = content["slow"]["auto"]
        resident, latency = one["resident_mib"], one["manifests_meanwhile"]["p99_ms"]
        yield _aim(f"{one['streams']:,} slow downloads: memory", _MOST, 150, resident, " MiB", digits=0)
        yield _aim(f"{one['streams']:,} slow downloads: manifests' p99", _MOST, 50, latency, " ms", digits=1)


def _pulls(content: Json) -> Iterator[Aim]:
    of = content["pulls"]
    what = "`docker pull` of a partition takes longer than pre-built"
    yield _aim(f"{what}, median", _MOST, 5, of["partition"]["more_ms"], " ms", digits=1)
    yield _aim(f"{what}, cut for it, median", _MOST, 20, of["partition, cold"]["more_ms"], " ms", digits=1)


def _build(content: Json) -> Iterator[Aim]:
    ours = {case: of["median"] for case, of in content["seconds"][OURS].items()}
    cold, unchanged, first, _ = SITUATIONS
    model = content["model"]
    to_floor = content["ratios"]["floor"]["median"]
    yield _aim(f"{model} from files to pullable, to SHA-256 and `curl` together", _MOST, 3, to_floor, "x", digits=1)
    yield _aim(f"{model} with nothing changed, to pullable", _MOST, 0.15, ours[unchanged], " s")
    yield _aim(f"{model} with a small split changed, to pullable", _MOST, 0.2, ours[first], " s")
    for name in (NEWEST, OLDER):
        if name in content["ratios"]:
            faster = content["ratios"][name]["median"]
            yield _aim(f"{model} from files to pullable: {name}, {cold}, to {OURS}", _LEAST, 8, faster, "x", digits=1)
    split = content["split"]["contenders"][SPLIT]
    yield _aim("A model split by layers: speed beside `cp` and SHA-256", _LEAST, 0.5, split["speed"], "x")
    yield _aim("A model split by layers: memory", _MOST, 100, split["peak_bytes"] / 2**20, " MiB", digits=0)


def _soak(content: Json) -> Iterator[Aim]:
    last = content["readings"][-1]
    yield _aim("Soak: bytes carried", _LEAST, 20, last["gibibytes"], " GiB", digits=1)
    yield _aim("Soak: requests answered", _LEAST, 100_000, last["requests"], "", digits=0)
    bound = content["memory_margin_mib"]
    yield _aim("Soak: memory grew", _MOST, bound, content["memory_growth_mib"], " MiB", digits=1)
    yield _aim("Soak: open files grew", _MOST, content["files_margin"], content["files_growth"], "", digits=0)


def _edge(content: Json) -> Iterator[Aim]:
    for size, cases in content["hits"].items():
        slowest = min(of["throughput_ratio"] for of in cases.values())
        dearest = max(of["cpu_ratio"] for of in cases.values())
        what = f"Edge node, {size} from the disk, to nginx"
        yield _aim(f"{what}: throughput, slowest case", _LEAST, 0.9, slowest, "x")
        yield _aim(f"{what}: processor time, dearest case", _MOST, 1.11, dearest, "x")
    dearest = max(of["cpu_ratio"] for of in content["fills"].values())
    yield _aim("Edge node, cold: processor time to nginx `proxy_store`, dearest case", _MOST, 1.3, dearest, "x")
    both = max(of["cpu_ratio_with_sha256"] for of in content["fills"].values())
    yield _aim("The same, to nginx and the SHA-256 of what it kept together", _MOST, 1.3, both, "x")
    of = content["line"]
    yield _aim(f"{of['devices']} cold pulls on a thin line: slowest to a plain download", _MOST, 1.1, of["ratio"], "x")
    yield _aim(f"{of['devices']} cold pulls on a thin line: bytes to each once", _MOST, 1.05, of["bytes_ratio"], "x")
    yield _aim(f"{of['devices']} cold pulls on a thin line: memory", _MOST, 150, of["peak_mib"], " MiB", digits=0)


_AIMS: Final[Mapping[str, Callable[[Json], Iterator[Aim]]]] = {
    "manifests": _manifests,
    "fields": _fields,
    "blobs": _blobs,
    "pulls": _pulls,
    "build": _build,
    "soak": _soak,
    "edge": _edge,
}
