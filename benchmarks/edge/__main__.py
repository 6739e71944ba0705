"""An edge node: blobs from its disk and cold ones beside nginx, devices on a thin line, and a whole site.

Run it with `make bench-edge`; `benchmarks/README.md` says how to read what it prints.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path
from typing import Final

from rich.console import Console

from benchmarks import network
from benchmarks.drawings import draw
from benchmarks.edge.fifty import fifty
from benchmarks.edge.fills import fills
from benchmarks.edge.hits import hits
from benchmarks.edge.scenario import scenario
from benchmarks.edge.tables import BESIDE, COLD, SUPPLIED, drawn, fill_rows, hit_rows, way_rows
from benchmarks.peers import Json, machine

RESULTS: Final = Path(__file__).parent.parent / "results"
PARTS: Final = ("hits", "fills", "line", "scenario")


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure an edge node.")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--mebibytes", type=int, default=4096, help="from each disk in each round")
    parser.add_argument("--blobs", type=int, default=16, help="cold ones in each round, 64 MiB each")
    parser.add_argument("--scale", type=float, default=1.0, help="size of the scenario's splits; 1: as they are")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS, help="default: all")
    arguments = parser.parse_args()
    control = network.enter("benchmarks.edge")
    console = Console(highlight=False, soft_wrap=True, width=150)
    content: Json = {"environment": machine() | {"congestion_control": control}, "load": vars(arguments)}
    with tempfile.TemporaryDirectory(prefix="twodfs-bench-") as directory:
        measure(Path(directory), arguments, content, console)
    if set(arguments.parts) != set(PARTS):
        return  # the report takes whole runs
    write(content)
    console.print("written to benchmarks/results/edge.json and edge.svg")


def measure(directory: Path, arguments: argparse.Namespace, content: Json, console: Console) -> None:
    """Add what each part gives to ``content``."""
    for part in PARTS:
        (directory / part).mkdir()
    if "hits" in arguments.parts:
        found: Json = {}
        for size, streams, of in hits(directory / "hits", arguments.rounds, arguments.mebibytes):
            console.print(f"on the disk, {size}, {streams} streams")
            found.setdefault(size, {})[str(streams)] = of
        content["hits"] = found
        console.print(drawn(("on the disk", "streams", *BESIDE), hit_rows(found)))
    if "fills" in arguments.parts:
        content["fills"] = {}
        for streams, of in fills(directory / "fills", arguments.rounds, arguments.blobs):
            console.print(f"cold, {streams} streams")
            content["fills"][str(streams)] = of
        console.print(drawn(COLD, fill_rows(content["fills"])))
    if "line" in arguments.parts:
        console.print("a thin line")
        content["line"] = fifty(directory / "line", arguments.rounds)
        console.print_json(data=content["line"])
    if "scenario" in arguments.parts:
        console.print("a site of devices")
        content["scenario"] = scenario(directory / "scenario", arguments.scale)
        console.print(drawn(("supplied by", *SUPPLIED), way_rows(content["scenario"])))


def write(content: Json) -> None:
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "edge.json").write_text(json.dumps(content, indent=2) + "\n")
    draw("edge", content, RESULTS)


if __name__ == "__main__":
    main()
