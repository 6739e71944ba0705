"""`docker pull` of a partition, beside an image made beforehand: the same documents, in the registry itself.

Run it with `make bench-pulls`; `benchmarks/README.md` says how to read what it prints.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from rich.console import Console
from rich.table import Table

from benchmarks.drawings import draw
from benchmarks.peers import Json, machine
from benchmarks.prebuilt import prebuild
from tests.lab.engines import DockerEngine
from tests.lab.images import PushedImage, push_field_image
from tests.lab.proxy import Proxy
from tests.lab.registry import Registry

DIRECTORY: Final = Path(__file__).parent
RESULTS: Final = DIRECTORY / "results" / "pulls.json"
REPOSITORY: Final = "bench/pulls"
PREBUILT: Final = "prebuilt"
BASELINE: Final = "pre-built"
ROWS, COLUMNS = 40, 4
LAYER_BYTES: Final = 64 * 1024

References = Mapping[str, Callable[[int], str]]
"""By contender: what is pulled in which round."""


@dataclass(frozen=True, slots=True)
class Peers:
    docker: DockerEngine
    references: References


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure pulls by Docker.")
    parser.add_argument("--rounds", type=int, default=20)
    arguments = parser.parse_args()
    assert arguments.rounds < ROWS - 2, f"the cold partitions are rows of the field, which has {ROWS}"
    console = Console(highlight=False, soft_wrap=True, width=100)
    environment = machine()
    with peers() as measured:
        pull_all(measured, 0)  # nothing is warm at first, dockerd least of all
        rounds = []
        for number in range(1, arguments.rounds + 1):
            rounds.append(pull_all(measured, number))
            console.print(f"round {number} of {arguments.rounds}")
    results = {name: summary([one[name] for one in rounds], rounds) for name in measured.references}
    console.print(table(results))
    RESULTS.parent.mkdir(exist_ok=True)
    content = {"environment": environment, "rounds": arguments.rounds, "pulls": results}
    RESULTS.write_text(json.dumps(content, indent=2) + "\n")
    draw("pulls", content, RESULTS.parent)
    console.print(f"written to {RESULTS.relative_to(DIRECTORY.parent)} and pulls.svg")


@contextmanager
def peers() -> Iterator[Peers]:
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="twodfs-bench-")))
        registry = stack.enter_context(Registry.start(directory))
        proxy = stack.enter_context(Proxy.start(directory, registry.url))
        (directory / "docker").mkdir()
        docker = stack.enter_context(DockerEngine.start(directory / "docker"))
        cells = {
            (row, column): {f"{row}-{column}": (b"%d/%d " % (row, column)) * (LAYER_BYTES // 6)}
            for row in range(ROWS)
            for column in range(COLUMNS)
        }
        image = push_field_image(
            registry.url,
            REPOSITORY,
            "v1",
            cells=cells,
            allotment_compression="none",
            platforms=("linux/amd64",),
        )
        prebuild(proxy.url, registry.url, REPOSITORY, f"v1--{row(0)}", to=REPOSITORY, under=PREBUILT)
        yield Peers(docker, references(image, proxy))


def references(image: PushedImage, proxy: Proxy) -> References:
    def warm(_: int) -> str:
        # Not the row of the pre-built image: of that one the registry would have the documents too.
        return image.reference(proxy.address, f"v1--{row(ROWS - 1)}")

    return {
        BASELINE: lambda _: image.reference(tag=PREBUILT),
        "pre-built, through the proxy": lambda _: image.reference(proxy.address, PREBUILT),
        "partition": warm,
        "partition, cold": lambda number: image.reference(proxy.address, f"v1--{row(number + 1)}"),
    }


def row(at: int) -> str:
    """Return the selection of one row: all have as many bytes."""
    return f"{at}.0.{at}.{COLUMNS - 1}"


def pull_all(measured: Peers, number: int) -> dict[str, float]:
    """Pull each contender once, from nothing; returns milliseconds."""
    spent = {}
    names = list(measured.references)
    for name in (*names[number % len(names) :], *names[: number % len(names)]):  # none is always the first
        reference = measured.references[name](number)
        started = time.perf_counter()
        measured.docker.pull(reference)
        spent[name] = 1000 * (time.perf_counter() - started)
        measured.docker.remove(reference)
    return spent


def summary(own: Sequence[float], rounds: Sequence[Mapping[str, float]]) -> Json:
    """Return the numbers of one contender; `more_ms` is the median of what it took more in the same round."""
    more = [spent - one[BASELINE] for spent, one in zip(own, rounds, strict=True)]
    return {
        "median_ms": round(statistics.median(own), 1),
        "fastest_ms": round(min(own), 1),
        "slowest_ms": round(max(own), 1),
        "more_ms": round(statistics.median(more), 1),
    }


def table(results: Mapping[str, Json]) -> Table:
    drawn = Table(box=None, pad_edge=False, padding=(0, 3, 0, 0))
    drawn.add_column("docker pull", no_wrap=True)
    for heading in ("median ms", "more ms", "fastest ms", "slowest ms"):
        drawn.add_column(heading, justify="right", no_wrap=True)
    for name, of in results.items():
        drawn.add_row(
            name,
            f"{of['median_ms']:.1f}",
            f"{of['more_ms']:+.1f}",
            f"{of['fastest_ms']:.1f}",
            f"{of['slowest_ms']:.1f}",
        )
    return drawn


if __name__ == "__main__":
    main()
