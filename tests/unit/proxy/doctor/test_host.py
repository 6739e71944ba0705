import resource
import tempfile
from pathlib import Path

import pytest

from proxy.bodies.splice import Pipes
from proxy.config import load
from proxy.doctor import host
from proxy.doctor.finding import Level

CONFIG = load({"upstream.url": "http://127.0.0.1:5001", "upstream.max_connections": "1000"}, {})
WORKERS = load({"upstream.url": "http://127.0.0.1:5001", "workers": "4", "cache.redis_url": "redis://127.0.0.1"}, {})


def test_too_few_file_descriptors_for_the_transfers_that_are_allowed() -> None:
    finding = host.files(CONFIG, 1024)
    assert finding.level is Level.WARNING
    assert "the proxy may open 1024 file descriptors" in finding.sentence
    # Two for each transfer, four more for each that is spliced: one for sixteen descriptors.
    assert "2920" in finding.advice
    assert host.files(CONFIG, 2919).level is Level.WARNING
    assert host.files(CONFIG, 2920).level is Level.OK
    assert "need 6192" in host.files(CONFIG, 2**60).sentence, "all of them are spliced"


def test_descriptors_of_a_transfer_that_is_not_spliced() -> None:
    settings = {"upstream.url": "http://127.0.0.1:5001", "upstream.max_connections": "1000"}
    assert "need 2192" in host.files(load(settings | {"blobs.relay": "buffered"}, {}), 2**60).sentence
    decrypted = load(settings | {"upstream.url": "https://registry.lan"}, {})
    assert "need 4192" in host.files(decrypted, 2**60).sentence


@pytest.mark.parametrize("limit", [1024, 4096, 16_383, 16_384, 2**20])
def test_the_doctor_counts_as_many_pipes_as_there_are(monkeypatch: pytest.MonkeyPatch, limit: int) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda _: (limit, limit))
    assert Pipes().most == host.splices_within(limit)


def test_memory_and_descriptors_hold_for_each_worker() -> None:
    assert "each of 4 workers may open" in host.files(WORKERS, 2**20).sentence
    assert "up to 1,536MiB may be needed by all of 4 workers" in host.memory(WORKERS, 2**62).sentence
    finding = host.memory(WORKERS, 1024 * 2**20)
    assert finding.level is Level.WARNING
    assert "allow 1,536MiB, or set cache.memory to 128MiB or have fewer" in finding.advice


def test_a_container_that_is_smaller_than_the_cache() -> None:
    finding = host.memory(CONFIG, 256 * 2**20)
    assert finding.level is Level.WARNING
    assert "allow 384MiB, or set cache.memory to 128MiB" in finding.advice
    assert host.memory(CONFIG, 384 * 2**20).level is Level.OK
    assert "no limit" in host.memory(CONFIG, 2**62).sentence


def test_a_disk_that_is_not_there(tmp_path: Path) -> None:
    assert host.disk(tmp_path / "missing").level is Level.WARNING


def test_a_machine_without_a_place_for_temporary_files(monkeypatch: pytest.MonkeyPatch) -> None:
    def nowhere() -> str:
        raise FileNotFoundError("No usable temporary directory found in ['/tmp']")

    monkeypatch.setattr(tempfile, "gettempdir", nowhere)
    assert host.disk().level is Level.SKIPPED


def test_little_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert host.disk(tmp_path).level is Level.OK
    monkeypatch.setattr(host, "_LITTLE_DISK", 2**70)
    assert host.disk(tmp_path).level is Level.WARNING
