"""Plain tags that give a partition: engines, tools and an edge node in front of the stock registry."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.lab import command
from tests.lab.documents import FieldStyle
from tests.lab.edge_commands import run_command
from tests.lab.engines import PullFailed
from tests.lab.engines.engine import Engine
from tests.lab.images import PushedImage, push_field_image, push_image
from tests.lab.peers import require
from tests.lab.programs import environment, program
from tests.lab.proxy import Proxy
from tests.lab.registry import Registry
from tests.lab.registry_client import RegistryClient
from tests.lab.signing import KeyPair, fetch_signature
from twodfs.oci.digest import digest_of
from twodfs.oci.documents import ACCEPT_IMAGES

CELLS = {
    (row, col): {f"cell-{row}-{col}": f"weights of {row}/{col} ".encode() * 50} for row in range(2) for col in range(2)
}
PARTITIONS = {"edge": "0.0.0.1", "default": "1.0.1.1"}


@pytest.fixture(scope="module")
def image(registry: Registry) -> PushedImage:
    style = FieldStyle(sizes=True, more={"partitions": PARTITIONS})
    return push_field_image(registry.url, "plain/model", "v1", cells=CELLS, field_style=style)


@pytest.fixture(scope="module")
def unnamed(registry: Registry) -> PushedImage:
    return push_field_image(registry.url, "plain/unnamed", "v1", cells=CELLS)


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> KeyPair:
    require("openssl")
    return KeyPair.generate(tmp_path_factory.mktemp("keys"), "signing")


@pytest.fixture(scope="module")
def plain(registry: Registry, keys: KeyPair, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxy]:
    """A proxy that gives `edge` for plain tags, signs, and lists partitions."""
    settings = {
        "TWODFS_PROXY_PARTITION_PLAIN_TAG": "edge",
        "TWODFS_PROXY_SIGNING_KEY": str(keys.private),
        "TWODFS_PROXY_UPSTREAM_LIST_PARTITIONS": "true",
    }
    with Proxy.start(tmp_path_factory.mktemp("plain"), registry.url, environment=settings) as started:
        yield started


def head(proxy: Proxy, repository: str, tag: str) -> str:
    with RegistryClient(proxy.url) as client:
        target = f"/v2/{repository}/manifests/{tag}"
        return client.request("HEAD", target, headers={"Accept": ACCEPT_IMAGES}).headers["docker-content-digest"]


def test_an_engine_gets_the_partition_by_the_plain_tag(plain: Proxy, image: PushedImage, engine: Engine) -> None:
    reference = image.reference(plain.address)
    engine.pull(reference)
    assert engine.files(reference) == image.files(image.select((0, 0, 0, 1)))
    engine.remove(reference)


def test_an_engine_gets_an_ordinary_image_as_it_is(registry: Registry, plain: Proxy, engine: Engine) -> None:
    ordinary = push_image(registry.url, "plain/ordinary", "v1", base={"a": b"ordinary"})
    reference = ordinary.reference(plain.address)
    engine.pull(reference)
    assert engine.files(reference) == {"a": b"ordinary"}
    engine.remove(reference)
    assert head(plain, "plain/ordinary", "v1") == ordinary.digest


def test_an_engine_is_told_that_an_image_lacks_the_partition(
    plain: Proxy, unnamed: PushedImage, engine: Engine
) -> None:
    with pytest.raises(PullFailed) as failed:
        engine.pull(unnamed.reference(plain.address))
    # containerd asks by HEAD first, which has no body.
    said = "not found" if engine.name == "containerd" else "it has all and base: pull one of them, as v1--all"
    assert said in failed.value.output


def test_copy_tools_get_the_image_itself(registry: Registry, plain: Proxy, image: PushedImage) -> None:
    require("skopeo")
    by_digest = f"{plain.address}/{image.repository}@{image.digest}"
    tls = ("--src-tls-verify=false", "--dest-tls-verify=false")
    for at, source in enumerate((image.reference(plain.address, "v1--image"), by_digest)):
        target = f"docker://{registry.address}/plain/copied:v{at}"
        argv = (program("skopeo"), "--insecure-policy", "copy", "--all", *tls, f"docker://{source}", target)
        command.run(argv, environment())
        with RegistryClient(registry.url) as client:
            assert digest_of(client.get_manifest("plain/copied", f"v{at}").body) == image.digest
    assert head(plain, image.repository, "v1--image") == image.digest


def test_the_partition_of_a_plain_tag_is_signed_and_the_list_has_what_it_had(
    plain: Proxy, image: PushedImage, keys: KeyPair
) -> None:
    digest = head(plain, image.repository, "v1")
    assert digest == head(plain, image.repository, "v1--edge") != image.digest
    with RegistryClient(plain.url) as client:
        found = fetch_signature(client, image.repository, digest)
        assert (found.vouches_for, found.optional["2dfs.source.digest"]) == (digest, image.digest)
        assert keys.verifies(found.payload, found.signature)
        listed = json.loads(client.request("GET", f"/v2/{image.repository}/tags/list").body)["tags"]
    assert listed == ["v1", "v1--default", "v1--edge"]


def test_each_of_several_registries_has_a_setting_of_its_own(
    registry: Registry, image: PushedImage, tmp_path: Path
) -> None:
    tables = '[partition]\nplain_tag = "default"\n' + "".join(
        f'[[upstream]]\nname = "{name}"\nurl = "{registry.url}"\nprefix = "{name}"\n{more}'
        for name, more in (
            ("first", "default = true\n"),
            ("same", ""),
            ("own", '[upstream.partition]\nplain_tag = "edge"\n'),
            ("off", '[upstream.partition]\nplain_tag = "pass"\n'),
        )
    )
    with Proxy.start(tmp_path, registry.url, config=tables) as proxy:
        given = {name: head(proxy, f"{name}/{image.repository}", "v1") for name in ("first", "same", "own", "off")}
        named = {name: head(proxy, f"first/{image.repository}", f"v1--{name}") for name in PARTITIONS}
    assert given == {
        "first": named["default"],
        "same": named["default"],
        "own": named["edge"],
        "off": image.digest,
    }


@dataclass(frozen=True, slots=True)
class Site:
    """An edge node that gives `edge` for plain tags, and the registry at the other end of its line."""

    registry: Registry
    node: Proxy
    edge: Path
    image: PushedImage

    def prefetch(self, *names: str) -> None:
        done = run_command("prefetch", "--edge", self.edge, "--node", self.node.admin_url, *names)
        assert done.status == 0, done.err


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    (tmp_path / "registry").mkdir()
    settings = {"TWODFS_PROXY_PARTITION_PLAIN_TAG": "edge", "TWODFS_PROXY_EDGE_OFFLINE_AFTER": "1"}
    edge = tmp_path / "edge"
    with Registry.start(tmp_path / "registry") as own:
        style = FieldStyle(sizes=True, more={"partitions": PARTITIONS})
        image = push_field_image(own.url, "plain/model", "v1", cells=CELLS, field_style=style)
        with Proxy.start(tmp_path, own.url, "--edge", str(edge), environment=settings) as node:
            yield Site(own, node, edge, image)


def test_an_edge_node_brings_and_keeps_what_the_plain_tag_gives(site: Site) -> None:
    """The registry is away by the time of the pull; the cells that are not selected never came."""
    site.prefetch("plain/model:v1")
    site.registry.stop()
    with RegistryClient(site.node.url) as client:
        top = client.get_manifest("plain/model", "v1")
        assert (top.status, top.headers["warning"][:3]) == (200, "110")
        (entry,) = json.loads(top.body)["manifests"]
        manifest = json.loads(client.get_manifest("plain/model", entry["digest"]).body)
        layers = [one["digest"] for one in manifest["layers"]]
        assert layers == [one.blob.digest for one in site.image.layers(site.image.select((0, 0, 0, 1)))]
        for digest in layers:
            assert client.request("GET", f"/v2/plain/model/blobs/{digest}").status == 200
    left_out = {site.image.allotments[cell].blob.digest for cell in site.image.select((1, 0, 1, 1))}
    assert not left_out & {f"sha256:{one.name}" for one in (site.edge / "blobs/sha256").iterdir()}


def test_an_edge_node_brings_and_keeps_the_image_itself_or_the_registrys_tag_that_is_written_so(site: Site) -> None:
    push_field_image(site.registry.url, "plain/named", "v1", cells=CELLS)
    named = push_image(site.registry.url, "plain/named", "v1--image", base={"a": b"named so"})
    site.prefetch("plain/model:v1--image", "plain/named:v1--image")
    site.registry.stop()
    assert head(site.node, "plain/model", "v1--image") == site.image.digest
    assert head(site.node, "plain/named", "v1--image") == named.digest
    kept = {f"sha256:{one.name}" for one in (site.edge / "blobs/sha256").iterdir()}
    assert {one.digest for one in (*site.image.blobs, *named.blobs)} <= kept
