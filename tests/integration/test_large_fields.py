"""Fields that are too large to be parsed on the loop, from a real registry, with Redis between replicas."""

import json
from pathlib import Path

import pytest

from proxy.confinement.field_body import MOST_HERE
from tests.lab.fields import SIZE, cell_hex, large_field, push_bare_field
from tests.lab.layers import Blob
from tests.lab.proxy import Proxy
from tests.lab.redis import Redis
from tests.lab.registry import Registry
from tests.lab.registry_client import RegistryClient

ROWS, COLUMNS = 150, 200


@pytest.fixture(scope="module")
def field(registry: Registry) -> Blob:
    """Push `large/field:v1`, a field of 30,000 cells."""
    field = large_field(ROWS, COLUMNS)
    assert len(field.content) > MOST_HERE
    push_bare_field(registry.url, "large/field", "v1", field)
    return field


def pull(proxy: Proxy, selection: str) -> list[str]:
    """Return the digests of the partition's layers, the base left out."""
    with RegistryClient(proxy.url) as client:
        answer = client.get_manifest("large/field", f"v1--{selection}")
    assert answer.status == 200, answer.body
    layers = json.loads(answer.body)["layers"]
    return [layer["digest"] for layer in layers if layer["size"] == SIZE]


def times_read(registry: Registry, field: Blob) -> int:
    return sum(
        one.method == "GET" and one.target == f"/v2/large/field/blobs/{field.digest}" for one in registry.requests()
    )


def test_a_large_field_is_read_once_whatever_is_selected(registry: Registry, field: Blob, proxy: Proxy) -> None:
    before = times_read(registry, field)
    assert pull(proxy, "0.199.1.199") == [f"sha256:{cell_hex(0, 199)}", f"sha256:{cell_hex(1, 199)}"]
    assert pull(proxy, "149.199.999.999") == [f"sha256:{cell_hex(149, 199)}"]
    assert times_read(registry, field) == before + 1


def test_a_replica_opens_the_field_that_another_has_parsed(
    registry: Registry, field: Blob, redis_server: Redis, tmp_path: Path
) -> None:
    before = times_read(registry, field)
    for replica in range(2):
        directory = tmp_path / str(replica)
        directory.mkdir()
        shared = {"TWODFS_PROXY_CACHE_REDIS_URL": redis_server.url}
        with Proxy.start(directory, registry.url, environment=shared) as proxy:
            assert pull(proxy, f"{replica}.0.{replica}.0") == [f"sha256:{cell_hex(replica, 0)}"]
    assert times_read(registry, field) == before + 1
