"""What the rounds come to: medians with their spread, and ratios of contenders within a round."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Sequence
from typing import Any, Final

from benchmarks.markdown import table
from benchmarks.models import SITUATIONS

OURS: Final = "twodfs"
HASHING: Final = "SHA-256, one core"
UPLOADS: Final = "curl, two at a time"
NEWEST: Final = "Docker, Debian's newest"
OLDER: Final = "Docker, this Debian's"
COLD: Final = SITUATIONS[0]

Seconds = dict[str, dict[str, list[float]]]
"""Of each round, by contender and situation."""


def spread(taken: Sequence[float]) -> dict[str, float]:
    """Return the median of some rounds, the least and the most."""
    return {"median": statistics.median(taken), "least": min(taken), "most": max(taken)}


def ratios(seconds: Seconds) -> dict[str, dict[str, float]]:
    """Return how many times the floor our cold push takes, and how many times ours a Docker's takes."""
    ours = seconds[OURS][COLD]
    floor = map(sum, zip(seconds[HASHING][COLD], seconds[UPLOADS][COLD], strict=True))
    found = {"floor": spread([own / least for own, least in zip(ours, floor, strict=True)])}
    for name in (NEWEST, OLDER):
        if name in seconds:
            found[name] = spread([other / own for own, other in zip(ours, seconds[name][COLD], strict=True)])
    return found


def build_tables(content: Any) -> Iterator[str]:
    """Yield the tables and sentences of the results."""
    sizes, seconds = content["sizes"], content["seconds"]
    yield (
        f"{content['model']}, {sum(sizes) / 1e6:.0f} MB in {len(sizes)} splits, the first of {sizes[0] / 1e6:.1f} MB "
        f"and the last of {sizes[-1] / 1e6:.0f} MB; seconds until it can be pulled, {content['rounds']} rounds:"
    )
    rows = [
        (f"{name}, {case}", *(f"{of[which]:.2f}" for which in ("median", "least", "most")))
        for name, cases in seconds.items()
        for case, of in cases.items()
    ]
    yield table(("", "median", "least", "most"), rows)
    yield "In the same round, cold:"
    named = {f"{OURS} to SHA-256 and curl together": content["ratios"]["floor"]}
    named |= {f"{name} to {OURS}": of for name, of in content["ratios"].items() if name != "floor"}
    yield table(
        ("", "median", "least", "most"),
        [(name, *(f"{of[which]:.1f}" for which in ("median", "least", "most"))) for name, of in named.items()],
    )
    yield (
        "Builds into the local store, by the size of the model. What an unchanged one takes is the start of the "
        f"program; an interpreter that does nothing starts in {1000 * content['interpreter']:.0f} ms:"
    )
    yield table(
        ("MB", "SHA-256, s", "cold, s", "unchanged, s"),
        [
            (
                f"{of['bytes'] / 1e6:.0f}",
                f"{of['sha256']:.3f}",
                f"{of['build']:.2f}",
                f"{of['unchanged']:.2f}",
            )
            for of in content["growth"]
        ],
    )
    split = content["split"]
    yield (
        f"A model of {split['bytes'] / 2**30:.1f} GiB in safetensors, split by layers into the local store "
        "(`twodfs build --model DIR --split layers --stages 4`), beside `cp` and SHA-256 of the same bytes:"
    )
    yield table(
        ("", "s", "processor s", "peak MiB", "speed beside `cp` and SHA-256"),
        [
            (
                name,
                f"{of['seconds']:.2f}",
                f"{of['cpu_seconds']:.2f}",
                f"{of['peak_bytes'] / 2**20:.0f}",
                f"{of['speed']:.2f}",
            )
            for name, of in split["contenders"].items()
        ],
    )
