from pathlib import Path

from benchmarks.evaluation.measuring.relay import CountingRelay
from tests.lab.layers import Blob
from tests.lab.registry import Registry
from tests.lab.registry_client import RegistryClient


def test_what_clients_send_arrives_and_is_counted_and_answers_are_not(tmp_path: Path) -> None:
    blob = Blob(b"w" * 3_000_000, "application/octet-stream")
    with Registry.start(tmp_path) as registry, CountingRelay(registry.address) as relay:
        with RegistryClient(f"http://{relay.address}") as client:
            client.push_blob("model", blob)
            sent = relay.received
            assert 3_000_000 < sent < 3_010_000
            assert client.request("GET", f"/v2/model/blobs/{blob.digest}").body == blob.content
            assert sent < relay.received < sent + 1000
        with RegistryClient(registry.url) as client:
            assert client.request("HEAD", f"/v2/model/blobs/{blob.digest}").status == 200
