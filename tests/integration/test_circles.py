"""A proxy whose registry turns out to be the proxy itself."""

import json
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.lab.balancer import Balancer
from tests.lab.peers import require
from tests.lab.process import free_port
from tests.lab.proxy import Proxy
from tests.lab.registry_client import RegistryClient


@pytest.mark.parametrize("replicas", [1, 2])
def test_a_circle_ends_with_a_508_that_says_what_to_change(tmp_path: Path, replicas: int) -> None:
    """Through a front, as in a cluster: no address tells, and replicas send requests round."""
    require("nginx")
    ports = [free_port() for _ in range(replicas)]
    with ExitStack() as stack:
        front = stack.enter_context(Balancer.start(tmp_path / "front", [f"127.0.0.1:{port}" for port in ports]))
        proxies = []
        for port in ports:
            directory = tmp_path / str(port)
            directory.mkdir()
            proxies.append(stack.enter_context(Proxy.start(directory, front.url, port=port, ready="/healthz")))
        with RegistryClient(front.url) as client:
            for tag in ("v1", "v1--0.0.0.0", "v1--edge", f"sha256:{64 * '0'}"):
                answer = client.get_manifest("library/model", tag)
                assert answer.status == 508, answer.body
                assert "upstream.url leads to itself" in json.loads(answer.body)["errors"][0]["message"]
        for proxy in proxies:
            told = [line for line in proxy.log_events() if line["event"] == "requests go in a circle"]
            assert len(told) <= 1
        assert any("requests go in a circle" in proxy.log.read_text() for proxy in proxies)
