import json
from pathlib import Path
from typing import Any

import pytest

from benchmarks.aims import reached
from benchmarks.report import page


def beside(throughput: float, cpu: float) -> dict[str, float]:
    return {
        "node_mb_per_second": 7000.4,
        "nginx_mb_per_second": 7000.0,
        "throughput_ratio": throughput,
        "node_cpu_s_per_gib": 0.08,
        "nginx_cpu_s_per_gib": 0.08,
        "cpu_ratio": cpu,
    }


@pytest.fixture
def content() -> dict[str, Any]:
    fill = beside(0.9, 2.0) | {"sha256_cpu_s_per_gib": 0.5, "cpu_ratio_with_sha256": 1.25}
    return {
        "environment": {"cpus": 2, "cpu": "x", "load_before": 0.1, "python": "3.11", "versions": {}},
        "load": {"rounds": 3, "mebibytes": 4096, "blobs": 16},
        "hits": {"64 MiB": {"1": beside(1.0, 1.0), "64": beside(0.89, 1.1)}},
        "fills": {"1": fill},
        "line": {
            "devices": 50,
            "megabits": 20,
            "bytes": 13_000_000,
            "plain_s": 5.4,
            "slowest_s": 5.7,
            "ratio": 1.06,
            "bytes_ratio": 1.01,
            "peak_mib": 100.0,
        },
        "scenario": {
            "model": "ResNet50",
            "model_bytes": 100_000_000,
            "splits": 10,
            "devices": 10,
            "window": 4,
            "megabits": 20,
            "ways": {"partitions, edge node": {"first_bytes": 100_000_000, "all_bytes": 150_000_000}},
        },
    }


def test_the_slowest_and_the_dearest_case_count(content: dict[str, Any]) -> None:
    met = {aim.what: aim.is_met for aim in reached({"edge": content})}
    assert met == {
        "Edge node, 64 MiB from the disk, to nginx: throughput, slowest case": False,
        "Edge node, 64 MiB from the disk, to nginx: processor time, dearest case": True,
        "Edge node, cold: processor time to nginx `proxy_store`, dearest case": False,
        "The same, to nginx and the SHA-256 of what it kept together": True,
        "50 cold pulls on a thin line: slowest to a plain download": True,
        "50 cold pulls on a thin line: bytes to each once": True,
        "50 cold pulls on a thin line: memory": True,
    }


def test_ways_to_supply_a_site_are_told_in_models_and_minutes(content: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / "edge.json").write_text(json.dumps(content))
    assert "| partitions, edge node | 100 | 150 | 1.5 | 1.0 |" in page(tmp_path)
