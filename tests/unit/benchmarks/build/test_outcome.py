import json
from typing import Any

import pytest

from benchmarks.aims import reached
from benchmarks.build.model_split import PEER, SPLIT
from benchmarks.build.outcome import COLD, HASHING, NEWEST, OLDER, OURS, UPLOADS, build_tables, ratios, spread
from benchmarks.models import SITUATIONS

SECONDS = {
    OURS: {COLD: [0.4, 0.8, 0.5], SITUATIONS[1]: [0.1, 0.2, 0.16], SITUATIONS[2]: [0.2, 0.1, 0.19]},
    HASHING: {COLD: [0.1, 0.1, 0.1]},
    UPLOADS: {COLD: [0.1, 0.1, 0.4]},
    NEWEST: {COLD: [4.0, 4.0, 4.0]},
}


def content() -> dict[str, Any]:
    return {
        "model": "ResNet50",
        "rounds": 3,
        "sizes": [412_416, 26_116_000],
        "seconds": {name: {case: spread(of) for case, of in cases.items()} for name, cases in SECONDS.items()},
        "ratios": ratios(SECONDS),
        "interpreter": 0.0123,
        "growth": [{"bytes": 103_000_000, "sha256": 0.1, "build": 0.3, "unchanged": 0.08}],
        "split": {
            "bytes": 2**30,
            "contenders": {
                PEER: {"seconds": 1.0, "cpu_seconds": 0.9, "peak_bytes": 6 * 2**20, "speed": 1.0},
                SPLIT: {"seconds": 2.5, "cpu_seconds": 2.0, "peak_bytes": 26 * 2**20, "speed": 0.4},
            },
        },
    }


def test_ratios_are_those_of_contenders_of_the_same_round() -> None:
    assert ratios(SECONDS) == {
        "floor": pytest.approx({"median": 2.0, "least": 1.0, "most": 4.0}),
        NEWEST: pytest.approx({"median": 8.0, "least": 5.0, "most": 10.0}),
    }


def test_aims_are_judged_by_medians_and_what_was_not_measured_is_none() -> None:
    aims = list(reached({"build": content()}))
    assert [(one.reached, one.is_met) for one in aims] == [
        ("2.0x", True),
        ("0.16 s", False),
        ("0.19 s", True),
        ("8.0x", True),
        ("0.40x", False),
        ("26 MiB", True),
    ]
    assert not [one for one in aims if OLDER in one.what]


def test_the_tables_have_every_contender_and_every_size() -> None:
    written = "\n".join(build_tables(json.loads(json.dumps(content()))))
    assert "| twodfs, unchanged | 0.16 | 0.10 | 0.20 |" in written
    assert f"| {NEWEST} to twodfs | 8.0 | 5.0 | 10.0 |" in written
    assert "| 103 | 0.100 | 0.30 | 0.08 |" in written
    assert "starts in 12 ms" in written
    assert "A model of 1.0 GiB" in written
    assert "| twodfs | 2.50 | 2.00 | 26 | 0.40 |" in written
