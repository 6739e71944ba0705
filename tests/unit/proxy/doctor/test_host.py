from pathlib import Path

import pytest

from proxy.config import load
from proxy.doctor import host
from proxy.doctor.finding import Level

CONFIG = load({"upstream.url": "http://127.0.0.1:5001", "upstream.max_connections": "1000"}, {})


def test_too_few_file_descriptors_for_the_transfers_that_are_allowed() -> None:
    finding = host.files(CONFIG, 1024)
    assert finding.level is Level.WARNING
    assert "1024 file descriptors are allowed" in finding.sentence
    assert "2192" in finding.advice
    assert host.files(CONFIG, 2192).level is Level.OK


def test_a_container_that_is_smaller_than_the_cache() -> None:
    finding = host.memory(CONFIG, 256 * 2**20)
    assert finding.level is Level.WARNING
    assert "allow 384MiB, or set cache.memory to 128MiB" in finding.advice
    assert host.memory(CONFIG, 384 * 2**20).level is Level.OK
    assert "no limit" in host.memory(CONFIG, 2**62).sentence


def test_a_disk_that_is_not_there(tmp_path: Path) -> None:
    assert host.disk(tmp_path / "missing").level is Level.WARNING


def test_little_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert host.disk(tmp_path).level is Level.OK
    monkeypatch.setattr(host, "_LITTLE_DISK", 2**70)
    assert host.disk(tmp_path).level is Level.WARNING
