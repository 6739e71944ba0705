"""Traces of real requests, as a collector receives them."""

import asyncio
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

from tests.lab.collector import Collector, collector
from tests.lab.documents import OCI
from tests.lab.exposition import OPENMETRICS, fetch
from tests.lab.images import push_field_image
from tests.lab.process import free_port
from tests.lab.proxy import Proxy
from tests.lab.raw_peer import Talk, behind_proxy, connected, head_of
from tests.lab.registry import Registry
from tests.lab.registry_client import RegistryClient

TRACE = "0af7651916cd43dd8448eb211c80319c"
PARENT = "b7ad6b7169203331"
SAMPLED = {"traceparent": f"00-{TRACE}-{PARENT}-01", "tracestate": "vendor=1"}
REPOSITORY = "tracing/model"
SECRET = "hunter2-planted"


def traced(collected: Collector, ratio: str = "1") -> dict[str, str]:
    return {
        "TWODFS_PROXY_TRACING_ENDPOINT": collected.endpoint,
        "TWODFS_PROXY_TRACING_SAMPLE_RATIO": ratio,
        "OTEL_BSP_SCHEDULE_DELAY": "50",
    }


def attributes(span: Span) -> dict[str, str | int]:
    return {one.key: one.value.string_value or one.value.int_value for one in span.attributes}


@pytest.fixture(scope="module", autouse=True)
def image(registry: Registry) -> None:
    push_field_image(registry.url, REPOSITORY, "v1", cells={(0, at): {"f": b"%d" % at} for at in range(4)})


def test_a_partition_pull_is_one_trace_with_its_parts(registry: Registry, tmp_path: Path) -> None:
    with collector() as collected:
        with Proxy.start(tmp_path, registry.url, environment=traced(collected)) as proxy:
            with RegistryClient(proxy.url) as client:
                path = f"/v2/{REPOSITORY}/manifests/v1--0.0.0.1"
                headers = {"Accept": OCI.index, "Authorization": f"Bearer {SECRET}", **SAMPLED}
                assert client.request("GET", f"{path}?account={SECRET}", headers=headers).status == 200
            text, _ = fetch(proxy.admin_url, OPENMETRICS)
            assert proxy.terminate() == 0, "what was not sent yet is sent at the end"
            (line,) = [one for one in proxy.log_events() if one["event"] == "request"]
        spans = [span for span in collected.spans if span.trace_id.hex() == TRACE]
        assert collected.services == {"twodfs-proxy"}
        assert not any(SECRET.encode() in body for body in collected.bodies)
    (root,) = [span for span in spans if span.parent_span_id.hex() == PARENT]
    assert root.kind == Span.SPAN_KIND_SERVER
    assert root.name == "GET partition"
    assert root.trace_state == "vendor=1"
    assert attributes(root) == {
        "http.request.method": "GET",
        "http.response.status_code": 200,
        "url.path": path,
        "twodfs.kind": "partition",
    }
    names = [span.name for span in spans]
    assert {"resolve", "fetch", "flatten", "store"} <= set(names)
    by_id = {span.span_id: span for span in spans}
    for span in spans:
        assert span.end_time_unix_nano >= span.start_time_unix_nano
        assert span is root or span.parent_span_id in by_id
    fetches = [by_id[span.parent_span_id].name for span in spans if span.name == "fetch"]
    assert set(fetches) == {"flatten"}
    assert line["trace_id"] == TRACE
    assert line["span_id"] == root.span_id.hex()
    assert f'# {{trace_id="{TRACE}"}}' in text, "the histogram names the trace"


def test_a_collector_that_hangs_does_not_hold_up_the_end(registry: Registry, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        endpoint = f"http://127.0.0.1:{silent.getsockname()[1]}/v1/traces"
        environment = {"TWODFS_PROXY_TRACING_ENDPOINT": endpoint, "OTEL_EXPORTER_OTLP_TIMEOUT": "600"}
        with Proxy.start(tmp_path, registry.url, environment=environment) as proxy:
            with RegistryClient(proxy.url) as client:
                assert client.request("GET", "/v2/").status == 200
            assert proxy.terminate() == 0
            assert [one for one in proxy.log_events() if one["event"] == "spans were not sent"]


def test_without_tracing_the_clients_own_context_passes_as_it_is() -> None:
    async def check() -> bytes:
        seen: list[bytes] = []

        async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            seen.append(await head_of(reader))
            writer.write(b"HTTP/1.1 204 No Content\r\n\r\n")

        async with behind_proxy(talk) as (_, host, port), connected(host, port) as (reader, writer):
            writer.write(
                b"GET /v2/ HTTP/1.1\r\nHost: h\r\nX-Request-Id: mine\r\ntraceparent: odd\r\ntracestate: a=b\r\n\r\n"
            )
            await head_of(reader)
        return seen[0]

    asked = asyncio.run(check())
    assert b"traceparent: odd\r\n" in asked
    assert b"tracestate: a=b\r\n" in asked
    assert b"x-request-id: mine\r\n" in asked.lower()


def test_the_context_goes_on_to_the_registry(tmp_path: Path) -> None:
    seen: list[bytes] = []

    async def check() -> None:
        async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            while True:
                seen.append(await head_of(reader))
                writer.write(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n")

        with collector() as collected:
            server = await asyncio.start_server(_quietly(talk), "127.0.0.1", 0)
            async with server:
                upstream = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
                start = lambda: Proxy.start(tmp_path, upstream, environment=traced(collected))  # noqa: E731
                proxy = await asyncio.to_thread(start)
                try:
                    await asyncio.to_thread(ask, proxy)
                finally:
                    await asyncio.to_thread(proxy.terminate)
            ids = {span.span_id.hex() for span in collected.spans if span.trace_id.hex() == TRACE}
        asked = [one.decode().lower() for one in seen if b"/v2/a/manifests/" in one]
        assert len(asked) >= 2, "the look-up of the base tag, and the literal tag"
        for head in asked:
            parents = [ln for ln in head.split("\r\n") if ln.startswith("traceparent:")]
            assert len(parents) == 1
            version, trace, span, flags = parents[0].removeprefix("traceparent: ").split("-")
            assert (version, trace, flags) == ("00", TRACE, "01")
            assert span in ids, "the parent is a span of ours"
            assert "tracestate: vendor=1" in head

    def ask(proxy: Proxy) -> None:
        with RegistryClient(proxy.url) as client:
            answer = client.request("GET", "/v2/a/manifests/v1--0.0.0.0", headers={"Accept": "*/*", **SAMPLED})
            assert answer.status == 404

    asyncio.run(check())


def _quietly(talk: Talk) -> Talk:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await talk(reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    return serve


def test_what_is_not_sampled_is_not_sent(registry: Registry, tmp_path: Path) -> None:
    with collector() as collected:
        with Proxy.start(tmp_path, registry.url, environment=traced(collected, "0")) as proxy:
            with RegistryClient(proxy.url) as client:
                assert client.get_manifest(REPOSITORY, "v1--0.0.0.2").status == 200
                asked = {"Accept": "*/*", **SAMPLED}
                assert client.request("GET", "/v2/", headers=asked).status == 200
            assert proxy.terminate() == 0
        assert {span.trace_id.hex() for span in collected.spans} == {TRACE}, "a caller's decision is kept"


def test_a_failing_registry_is_an_error_in_the_trace(tmp_path: Path) -> None:
    with collector() as collected:
        upstream = f"http://127.0.0.1:{free_port()}"
        with Proxy.start(tmp_path, upstream, environment=traced(collected), ready="/healthz") as proxy:
            with RegistryClient(proxy.url) as client:
                client.get_manifest(REPOSITORY, "v1--0.0.0.0")
            proxy.terminate()
        failed = {span.name for span in collected.spans if span.status.code == Status.STATUS_CODE_ERROR}
    assert failed == {"GET partition", "resolve"}


def test_an_away_collector_neither_fails_requests_nor_holds_up_the_end(registry: Registry, tmp_path: Path) -> None:
    environment = {"TWODFS_PROXY_TRACING_ENDPOINT": f"http://127.0.0.1:{free_port()}/v1/traces"}
    with Proxy.start(tmp_path, registry.url, environment=environment) as proxy:
        with RegistryClient(proxy.url) as client:
            assert client.get_manifest(REPOSITORY, "v1--0.0.0.3").status == 200
        assert proxy.terminate(20) == 0


def test_without_the_extra_the_start_says_what_to_install() -> None:
    hidden = "import sys; sys.modules['opentelemetry'] = None; from proxy.__main__ import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", hidden, "--upstream", "http://127.0.0.1:9", "--admin", "none"],
        env={"TWODFS_PROXY_TRACING_ENDPOINT": "http://127.0.0.1:9/v1/traces"},
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
        cwd=Path(__file__).parents[2],
    )
    assert done.returncode == 1
    assert "pip install opentelemetry-sdk opentelemetry-exporter-otlp-proto-http" in done.stderr


def test_opentelemetry_is_not_loaded_where_nothing_is_traced() -> None:
    # redis-py imports a part of the SDK by itself where it finds it; the exporter is what tracing brings.
    check = "import sys, proxy.app, proxy.workers.supervisor; assert 'opentelemetry.exporter' not in sys.modules"
    subprocess.run([sys.executable, "-c", check], check=True, timeout=30, cwd=Path(__file__).parents[2])
