"""What `/metrics` says of requests that were really made, by value."""

import re
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import orjson
import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families

import proxy.metrics.catalogue  # noqa: F401 - declares them
from proxy.metrics.instruments import CATALOGUE
from tests.lab.documents import OCI, FieldStyle
from tests.lab.exposition import OPENMETRICS, Scrape, fetch
from tests.lab.images import PushedImage, push_field_image
from tests.lab.process import free_port
from tests.lab.proxy import Proxy
from tests.lab.redis import Redis
from tests.lab.registry import Registry
from tests.lab.registry_client import RegistryClient

SIZES = {(0, 0): 100, (0, 1): 20_000, (1, 0): 300_000}
OUR_REPOSITORY = "metrics/model"


@pytest.fixture(scope="module")
def image(registry: Registry) -> PushedImage:
    cells = {cell: {"f": bytes([at]) * size} for at, (cell, size) in enumerate(SIZES.items())}
    return push_field_image(
        registry.url,
        OUR_REPOSITORY,
        "v1",
        cells=cells,
        platforms=("linux/amd64", "linux/arm64"),
        allotment_compression="none",
        field_style=FieldStyle(sizes=True),
    )


@pytest.fixture
def measured(registry: Registry, redis_server: Redis, tmp_path: Path) -> Iterator[Proxy]:
    environment = {
        "TWODFS_PROXY_CACHE_REDIS_URL": redis_server.url,
        "TWODFS_PROXY_METRICS_REPOSITORIES": "metrics/*",
    }
    with Proxy.start(tmp_path, registry.url, environment=environment) as proxy:
        yield proxy


def left_out(image: PushedImage, *selected: tuple[int, int]) -> int:
    return sum(len(layer.blob.content) for cell, layer in image.allotments.items() if cell not in selected)


def test_a_partition_pull_is_counted_by_value(measured: Proxy, image: PushedImage) -> None:
    with RegistryClient(measured.url) as client:
        target = f"/v2/{OUR_REPOSITORY}/manifests/v1--0.0.0.0"
        assert client.request("HEAD", target, headers={"Accept": OCI.index}).status == 200
        top = client.get_manifest(OUR_REPOSITORY, "v1--0.0.0.0")
        for entry in orjson.loads(top.body)["manifests"]:
            manifest = client.get_manifest(OUR_REPOSITORY, entry["digest"])
            config = orjson.loads(manifest.body)["config"]["digest"]
            assert client.request("GET", f"/v2/{OUR_REPOSITORY}/blobs/{config}").status == 200
        layer = orjson.loads(manifest.body)["layers"][-1]
        blob = client.request("GET", f"/v2/{OUR_REPOSITORY}/blobs/{layer['digest']}")
        assert len(blob.body) == layer["size"]
        missing = client.get_manifest(OUR_REPOSITORY, "v1--7.7.8.8")
        assert missing.status == 404
    seen = Scrape.of(measured.admin_url)

    def requests(kind: str, method: str, status: int) -> float:
        return seen.value("twodfs_proxy_requests_total", kind=kind, method=method, status=str(status))

    assert requests("partition", "HEAD", 200) == 1
    assert requests("partition", "GET", 200) == 1
    assert requests("partition", "GET", 404) == 1
    assert requests("manifest", "GET", 200) == 2
    assert requests("blob", "GET", 200) == 3
    assert seen.total("twodfs_proxy_requests_total") == 8
    assert seen.value("twodfs_proxy_request_seconds_count", kind="partition") == 3
    assert seen.value("twodfs_proxy_request_seconds_bucket", kind="partition", le="+Inf") == 3
    assert seen.value("twodfs_proxy_spared_bytes_total") == left_out(image, (0, 0))
    assert seen.value("twodfs_proxy_synthesis_cells_total") == 1
    assert seen.value("twodfs_proxy_synthesis_seconds_count") == 1
    assert seen.value("twodfs_proxy_relayed_bytes_total", direction="down") >= layer["size"]
    assert seen.value("twodfs_proxy_upstream_seconds_count", operation="stream") == 1  # the layer
    assert seen.value("twodfs_proxy_upstream_seconds_count", operation="head") >= 3
    assert seen.value("twodfs_proxy_cache_lookups_total", tier="memory", outcome="hit") >= 5
    assert seen.value("twodfs_proxy_cache_lookups_total", tier="redis", outcome="miss") >= 1
    assert seen.value("twodfs_proxy_redis_up") == 1
    assert seen.value("twodfs_proxy_breaker_open", breaker="redis") == 0
    assert seen.value("twodfs_proxy_workers") == 1
    assert seen.value("twodfs_proxy_in_flight") == 0
    assert seen.value("process_resident_memory_bytes") > 10 * 2**20
    assert seen.total("twodfs_proxy_build_info") == 1
    by_name = {"repository": OUR_REPOSITORY, "kind": "partition"}
    assert seen.value("twodfs_proxy_repository_requests_total", by_name) == 2


def test_spared_bytes_count_a_pull_once_however_the_client_pulls(
    measured: Proxy, image: PushedImage, registry: Registry, redis_server: Redis, tmp_path: Path
) -> None:
    spared = left_out(image, (1, 0))
    with RegistryClient(measured.url) as client:
        accept = {"Accept": OCI.index}
        target = f"/v2/{OUR_REPOSITORY}/manifests/v1--1.0.1.0"
        top = client.request("HEAD", target, headers=accept)  # as containerd does
        assert Scrape.of(measured.admin_url).value("twodfs_proxy_spared_bytes_total") == 0
        digest = top.headers["docker-content-digest"]
        client.get_manifest(OUR_REPOSITORY, digest)
        assert Scrape.of(measured.admin_url).value("twodfs_proxy_spared_bytes_total") == spared
        held = {"If-None-Match": f'"{digest}"'}
        assert client.request("GET", target, headers=held | accept).status == 304
        assert Scrape.of(measured.admin_url).value("twodfs_proxy_spared_bytes_total") == spared
    shared = {"TWODFS_PROXY_CACHE_REDIS_URL": redis_server.url}
    place = tmp_path / "replica"
    place.mkdir()
    with Proxy.start(place, registry.url, environment=shared) as replica:  # has the partition from Redis
        with RegistryClient(replica.url) as client:
            client.get_manifest(OUR_REPOSITORY, "v1--1.0.1.0")
        seen = Scrape.of(replica.admin_url)
    assert seen.value("twodfs_proxy_spared_bytes_total") == spared
    assert seen.value("twodfs_proxy_synthesis_seconds_count") == 0


def test_labels_are_bounded_whatever_clients_and_registries_send(tmp_path: Path) -> None:
    class Odd(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(299 if "odd" in self.path else 200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        do_PROPFIND = do_HEAD = do_GET  # noqa: N815 - the base class looks for these names

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class' name
            pass

    port = free_port()
    with ThreadingHTTPServer(("127.0.0.1", port), Odd) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            with Proxy.start(tmp_path, f"http://127.0.0.1:{port}") as proxy:
                with RegistryClient(proxy.url) as client:
                    assert client.request("GET", "/v2/odd").status == 299
                    assert client.request("PROPFIND", "/v2/coffee").status == 200
                    for at in range(50):
                        client.request("HEAD", f"/v2/some/r{at}/manifests/v1")
                labels = Scrape.of(proxy.admin_url).labels("twodfs_proxy_requests_total")
        finally:
            server.shutdown()
            thread.join()
    assert sorted((one["kind"], one["method"], one["status"]) for one in labels) == [
        ("other", "GET", "2xx"),
        ("other", "HEAD", "200"),
        ("other", "OTHER", "200"),
    ]


def test_a_registry_that_is_away_is_an_upstream_error(tmp_path: Path) -> None:
    with Proxy.start(tmp_path, f"http://127.0.0.1:{free_port()}", ready="/healthz") as proxy:
        with RegistryClient(proxy.url) as client:
            assert client.get_manifest("a", "v1").status == 502
        seen = Scrape.of(proxy.admin_url)
    assert seen.value("twodfs_proxy_upstream_errors_total", reason="unreachable") == 1
    assert seen.value("twodfs_proxy_requests_total", kind="other", method="GET", status="502") == 1


def test_openmetrics_is_given_to_who_asks_for_it(proxy: Proxy) -> None:
    plain, plain_type = fetch(proxy.admin_url)
    assert plain_type.startswith("text/plain; version=0.0.4")
    text, content_type = fetch(proxy.admin_url, OPENMETRICS)
    assert content_type.startswith("application/openmetrics-text; version=1.0.0")
    families = {
        family.name
        for family in text_string_to_metric_families(text)  # type: ignore[no-untyped-call]
    }
    assert families == {name.removesuffix("_total") for name in CATALOGUE}
    assert all(f"# TYPE {name} " in plain for name in CATALOGUE)


def test_metrics_are_not_on_the_public_port(proxy: Proxy) -> None:
    with RegistryClient(proxy.url) as client:
        assert not re.search(rb"twodfs_proxy_", client.request("GET", "/metrics").body)
