"""The configurations of docs/pulling.md in the real programs: no image name mentions the proxy.

The registry of the examples is the lab's own, so that nothing looks for a name elsewhere.
"""

import re
from pathlib import Path

import pytest

from tests.lab import command, helm
from tests.lab.engines import Containerd, Podman
from tests.lab.images import PushedImage, push_field_image, push_image
from tests.lab.peers import require
from tests.lab.process import free_port
from tests.lab.programs import environment, program
from tests.lab.proxy import Proxy
from tests.lab.registry import Registry

PAGE = (Path(__file__).parents[2] / "docs" / "pulling.md").read_text()
NAME = "registry.example.org"
CELLS = {(0, 0): {"a": b"1"}, (0, 1): {"b": b"2"}}


def block(beginning: str) -> str:
    """Return the page's block of code that begins so."""
    (found,) = re.findall(rf"^```\w*\n({re.escape(beginning)}.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
    return str(found)


@pytest.fixture(scope="module")
def image(registry: Registry) -> PushedImage:
    return push_field_image(registry.url, "library/mirrored", "v1", cells=CELLS)


def test_containerd_asks_the_proxy_and_the_registry_where_that_is_down(
    image: PushedImage, registry: Registry, proxy: Proxy, containerd_engine: Containerd, tmp_path: Path
) -> None:
    hosts = block(f'server = "https://{NAME}"').replace(f"https://{NAME}", registry.url)
    place = tmp_path / registry.address / "hosts.toml"
    place.parent.mkdir()

    place.write_text(hosts.replace("https://models.example.org", proxy.url))
    name = f"{registry.address}/{image.repository}:v1--0.0.0.1"
    containerd_engine.pull_by_hosts(name, tmp_path)
    assert containerd_engine.files(name) == image.files([(0, 0), (0, 1)])
    containerd_engine.remove(name)

    place.write_text(hosts.replace("https://models.example.org", f"http://127.0.0.1:{free_port()}"))
    plain = push_image(registry.url, "library/plain", "v1", base={"c": b"3"})
    name = f"{registry.address}/{plain.repository}:v1"
    containerd_engine.pull_by_hosts(name, tmp_path)
    assert containerd_engine.files(name) == plain.files()
    containerd_engine.remove(name)


def registries_conf(registry: Registry, proxy: Proxy) -> str:
    written = block("[[registry]]").replace("models.example.org", proxy.address).replace(NAME, registry.address)
    return re.sub(r"^(location = .*)$", r"\1\ninsecure = true", written, flags=re.MULTILINE)


def test_skopeo_asks_the_mirror(image: PushedImage, registry: Registry, proxy: Proxy, tmp_path: Path) -> None:
    require("skopeo")
    conf = tmp_path / "registries.conf"
    conf.write_text(registries_conf(registry, proxy))
    argv = (program("skopeo"), "--registries-conf", str(conf), "inspect", "--format", "{{.Layers}}")
    name = f"docker://{registry.address}/{image.repository}:v1--0.0.0.0"
    said = command.run((*argv, name), environment())
    assert image.allotments[0, 0].blob.digest in said
    assert image.allotments[0, 1].blob.digest not in said


def test_podman_asks_the_mirror(image: PushedImage, registry: Registry, proxy: Proxy, tmp_path: Path) -> None:
    require("podman", "runc")
    with Podman.start(tmp_path) as podman:
        Path(podman.environment["CONTAINERS_REGISTRIES_CONF"]).write_text(registries_conf(registry, proxy))
        name = f"{registry.address}/{image.repository}:v1--0.0.0.0"
        podman.pull(name)
        assert podman.files(name) == image.files([(0, 0)])


def test_the_charts_values_for_a_private_ca_render(tmp_path: Path) -> None:
    values = tmp_path / "values.yaml"
    values.write_text(block("config:\n  upstream:"))
    rendered = helm.template(values)
    assert 'ca_file = "/etc/registry-ca/ca.crt"' in rendered
    assert "mountPath: /etc/registry-ca" in rendered
