"""IPv6 on every side: listening, registries, ``Host`` and ``ns``."""

import http.client
import json
import socket
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import pytest

from tests.lab.caller import ACCEPT
from tests.lab.images import Image, build_image, push
from tests.lab.peers import require
from tests.lab.process import free_port
from tests.lab.proxy import Proxy
from tests.lab.registry import Registry
from tests.lab.registry_client import RegistryClient

IMAGES = [build_image({(0, 0): {"file": b"0"}}, base={"base.txt": b"%d" % at}) for at in range(2)]
PULL = "/v2/team/model/manifests/v1"


@pytest.fixture(scope="module")
def registries(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Registry]]:
    """Two, with IPv6 alone."""
    require("docker-registry")
    directories = [tmp_path_factory.mktemp(f"registry{at}") for at in range(2)]
    with (
        Registry.start(directories[0], host="[::1]") as one,
        Registry.start(directories[1], host="[::1]") as other,
    ):
        for registry, image in zip((one, other), IMAGES, strict=True):
            push(image, registry.url, "team/model", "v1")
        yield [one, other]


@pytest.fixture(scope="module")
def proxy(registries: list[Registry], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxy]:
    one, other = registries
    directory: Path = tmp_path_factory.mktemp("proxy")
    config = f"""
    [[upstream]]
    name = "one"
    url = "{one.url}"
    [[upstream]]
    name = "other"
    url = "{other.url}"
    prefix = "other"
    namespaces = ["[2001:DB8:0::7]:5000"]
    hosts = ["2001:db8:0:0:0:0:0:8", "fe80::1"]
    """
    with Proxy.start(directory, one.url, host="[::]", config=config) as started:
        yield started


def check_both_families(proxy: Proxy) -> None:
    for address in ("::1", "127.0.0.1"):
        port = int(proxy.address.rpartition(":")[2])
        connection = http.client.HTTPConnection(address, port, timeout=30)
        connection.request("GET", f"{PULL}--0.0.0.0", headers={"Accept": ACCEPT, "User-Agent": f"over {address}"})
        answer = connection.getresponse()
        assert answer.status == 200, answer.read()
        connection.close()
        lines = [one for one in proxy.log_events() if one.get("user_agent") == f"over {address}"]
        assert {one["remote"] for one in lines} == {address}


def test_both_families_reach_a_proxy_that_listens_everywhere(proxy: Proxy) -> None:
    check_both_families(proxy)


def test_both_families_reach_its_workers(registries: list[Registry], tmp_path: Path) -> None:
    config = f'workers = 2\nedge.directory = "{tmp_path}/edge"\nedge.min_free = 0\n'
    with Proxy.start(tmp_path, registries[0].url, host="[::]", config=config) as started:
        check_both_families(started)


@pytest.mark.parametrize(
    ("target", "host", "image"),
    [
        (PULL, "[::1]:5000", IMAGES[0]),
        (PULL, "[2001:db8::8]", IMAGES[1]),
        (PULL, "[2001:0DB8::0008]:5000", IMAGES[1]),
        (PULL, "[FE80::1]:80", IMAGES[1]),
        (PULL, "[2001:db8::9]", IMAGES[0]),
        (f"{PULL}?ns=[2001:db8::7]:5000", "x", IMAGES[1]),
        (f"{PULL}?ns={quote('[2001:DB8:0:0:0:0:0:7]:5000', safe='')}", "[::1]", IMAGES[1]),
        ("/v2/other/team/model/manifests/v1", "[::1]:5000", IMAGES[1]),
        (f"http://[2001:db8::8]:5000{PULL}", "x", IMAGES[1]),
    ],
)
def test_literals_name_registries_in_any_spelling(proxy: Proxy, target: str, host: str, image: Image) -> None:
    with RegistryClient(f"http://[::1]:{proxy.address.rpartition(':')[2]}") as client:
        answer = client.request("GET", target, headers={"Accept": ACCEPT, "Host": host})
        assert (answer.status, answer.headers["docker-content-digest"]) == (200, image.digest), answer.body


def test_a_registry_names_itself_in_ns(proxy: Proxy, registries: list[Registry]) -> None:
    with RegistryClient(f"http://[::1]:{proxy.address.rpartition(':')[2]}") as client:
        for registry, image in zip(registries, IMAGES, strict=True):
            answer = client.request("GET", f"{PULL}?ns={registry.address}", headers={"Accept": ACCEPT})
            assert answer.headers["docker-content-digest"] == image.digest
        for stranger in ("[::1]:1", "[::1]", "::1", "[2001:db8::7]", "[2001:db8::7]:5001", "[::ffff:127.0.0.1]:5000"):
            answer = client.request("GET", f"{PULL}?ns={stranger}")
            assert (answer.status, json.loads(answer.body)["errors"][0]["code"]) == (404, "NAME_UNKNOWN")


@pytest.mark.parametrize("host", ["[::1]:5000", "[2001:db8::8]:5000", "[2001:db8::8]"])
def test_uploads_go_on_at_the_literal_that_they_began_at(proxy: Proxy, host: str) -> None:
    with RegistryClient(f"http://[::1]:{proxy.address.rpartition(':')[2]}") as client:
        began = client.request("POST", "/v2/team/new/blobs/uploads/", headers={"Host": host})
        assert began.status == 202
        assert began.headers["location"].startswith(f"http://{host}/v2/team/new/blobs/uploads/")


def test_an_address_of_one_family_is_of_that_alone(registries: list[Registry], tmp_path: Path) -> None:
    port = free_port()
    with Proxy.start(tmp_path, registries[0].url, host="[::1]", port=port):
        with socket.create_connection(("::1", port), timeout=10):
            pass
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", port), timeout=10)
