"""Flame graphs of the proxy under load: warm partitions and a plain manifest.

Run it with `make bench-profile`; it writes `results/profile-*.svg` and `.txt`.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from rich.console import Console

from benchmarks.flames.graph import draw, parse, text
from benchmarks.manifests import CONNECTIONS, DIRECTORY, PARTITION, TAG, check_partition
from benchmarks.peers import cpu_seconds
from tests.lab import command
from tests.lab.images import push_field_image, push_image
from tests.lab.programs import environment, program
from tests.lab.proxy import Proxy
from tests.lab.registry import Registry

RESULTS: Final = DIRECTORY / "results"


@dataclass(frozen=True, slots=True)
class Subject:
    """What is asked for, and how."""

    name: str
    title: str
    path: str
    argument: str = ""
    tag_ttl: str = "0"


_PARTITION: Final = f"/v2/bench/field/manifests/{PARTITION}"
SUBJECTS: Final = (
    Subject("partition", "Warm partition, each client with credentials of its own", _PARTITION, "unshared"),
    Subject("partition-tag-ttl", "Warm partition, tags trusted for a second", _PARTITION, tag_ttl="1"),
    Subject("pass-through", "Plain manifest, passed through", f"/v2/bench/plain/manifests/{TAG}"),
)


def main() -> None:
    parser = argparse.ArgumentParser(description="Draw flame graphs of the proxy.")
    parser.add_argument("--seconds", type=int, default=15, help="of load for each graph")
    parser.add_argument("--results", type=Path, default=RESULTS)
    arguments = parser.parse_args()
    console = Console(highlight=False, soft_wrap=True)
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="twodfs-flames-")))
        registry = stack.enter_context(Registry.start(directory))
        cells = {(row, column): {f"{row}-{column}": b"weights"} for row in range(3) for column in range(3)}
        push_field_image(registry.url, "bench/field", TAG, cells=cells)
        push_image(registry.url, "bench/plain", TAG)
        for subject in SUBJECTS:
            folded, spent = sample(directory, registry, subject, arguments.seconds)
            stacks = parse(folded)
            title = f"{subject.title} ({spent:.0f} µs of processor time a request)"
            (arguments.results / f"profile-{subject.name}.svg").write_text(draw(title, stacks))
            (arguments.results / f"profile-{subject.name}.txt").write_text(text(subject.title, stacks, spent))
            console.print(f"{subject.name}: {spent:.0f} µs, {sum(stacks.values())} samples")


def sample(directory: Path, registry: Registry, subject: Subject, seconds: int) -> tuple[str, float]:
    """Load a proxy of its own; returns its folded stacks, and microseconds of processor time a request."""
    folded = directory / f"{subject.name}.folded"
    with Proxy.start(
        directory,
        registry.url,
        under=("-m", "benchmarks.flames.sampler", str(folded)),
        environment={"TWODFS_PROXY_CACHE_TAG_TTL": subject.tag_ttl},
    ) as proxy:
        check_partition(proxy)
        before = cpu_seconds(proxy)
        wrk = (program("wrk"), "-t1", f"-c{CONNECTIONS}", f"-d{seconds}s", "--latency")
        script = ("-s", str(DIRECTORY / "wrk.lua"), f"{proxy.url}{subject.path}", "--", subject.argument)
        seen = json.loads(command.run((*wrk, *script), environment()).strip().rpartition("\n")[2])
        spent = cpu_seconds(proxy) - before
        assert not seen["failed"], seen
        assert proxy.terminate() == 0
    return folded.read_text(), 1e6 * spent / seen["requests"]


if __name__ == "__main__":
    main()
