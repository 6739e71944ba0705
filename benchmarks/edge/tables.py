"""What an edge node's benchmark found, as tables in Markdown, and on the terminal."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

from rich.table import Table

from benchmarks.markdown import Row, table
from benchmarks.peers import Json

BESIDE: Final = ("node MB/s", "nginx MB/s", "ratio", "node CPU s/GiB", "nginx CPU s/GiB", "ratio of CPU")
COLD: Final = ("cold, streams", *BESIDE, "SHA-256 CPU s/GiB", "ratio to both")
SUPPLIED: Final = ("first pulls, MB", "all windows, MB", "times the model", "minutes on the line")


def tables(content: Json) -> Iterator[str]:
    """Return the paragraphs of the page about a whole run."""
    load = content["load"]
    yield f"{load['rounds']} rounds; blobs on the disk: {load['mebibytes']:,} MiB for each peer in each of them."
    yield table(("on the disk", "streams", *BESIDE), hit_rows(content["hits"]))
    yield f"{load['blobs']} new blobs of 64 MiB in each round, nginx with `proxy_store`:"
    yield table(COLD, fill_rows(content["fills"]))
    of = content["line"]
    yield (
        f"{of['devices']} devices pull as many overlapping partitions, {of['bytes'] / 1e6:.0f} MB in all, through a "
        f"line of {of['megabits']} Mbit/s from a cold node:"
    )
    yield table(
        ("plain download of all, s", "slowest pull, s", "ratio", "bytes on the line to once each", "peak memory, MiB"),
        [
            (
                f"{of['plain_s']:.2f}",
                f"{of['slowest_s']:.2f}",
                f"{of['ratio']:.2f}",
                f"{of['bytes_ratio']:.3f}",
                f"{of['peak_mib']:.0f}",
            )
        ],
    )
    of = content["scenario"]
    yield (
        f"{of['model']} in {of['splits']} allotments, {of['model_bytes'] / 1e6:.0f} MB; {of['devices']} devices, each "
        f"with a window of {of['window']} that slides over all of them; minutes for a line of {of['megabits']} Mbit/s:"
    )
    yield table(("supplied by", *SUPPLIED), way_rows(of))


def hit_rows(hits: Mapping[str, Mapping[str, Json]]) -> list[Row]:
    return [(size, streams, *_beside(of)) for size, cases in hits.items() for streams, of in cases.items()]


def fill_rows(fills: Mapping[str, Json]) -> list[Row]:
    return [
        (streams, *_beside(of), f"{of['sha256_cpu_s_per_gib']:.3f}", f"{of['cpu_ratio_with_sha256']:.2f}")
        for streams, of in fills.items()
    ]


def way_rows(scenario: Json) -> list[Row]:
    """Return megabytes, how many times the model that is, and minutes on the line, for each way."""
    return [
        (
            name,
            f"{of['first_bytes'] / 1e6:,.0f}",
            f"{of['all_bytes'] / 1e6:,.0f}",
            f"{of['all_bytes'] / scenario['model_bytes']:.1f}",
            f"{of['all_bytes'] * 8 / scenario['megabits'] / 60e6:.1f}",
        )
        for name, of in scenario["ways"].items()
    ]


def drawn(headings: Row, rows: list[Row]) -> Table:
    """Return a table for the terminal."""
    made = Table(box=None, pad_edge=False, padding=(0, 3, 0, 0))
    for at, heading in enumerate(headings):
        made.add_column(heading, justify="right" if at else "left", no_wrap=True)
    for row in rows:
        made.add_row(*row)
    return made


def _beside(of: Json) -> Row:
    return (
        f"{of['node_mb_per_second']:,.0f}",
        f"{of['nginx_mb_per_second']:,.0f}",
        f"{of['throughput_ratio']:.2f}",
        f"{of['node_cpu_s_per_gib']:.3f}",
        f"{of['nginx_cpu_s_per_gib']:.3f}",
        f"{of['cpu_ratio']:.2f}",
    )
