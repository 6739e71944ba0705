"""Images carried from an edge node to one whose registry never answers, and pulled there with real engines."""

import json
import tarfile
from dataclasses import dataclass
from pathlib import Path

import bcrypt
import pytest

from tests.lab import command
from tests.lab.documents import OCI, FieldStyle, document
from tests.lab.edge_commands import cache, cache_command, run_command
from tests.lab.engines import Skopeo
from tests.lab.images import PushedImage, push_field_image, push_image
from tests.lab.layers import Blob
from tests.lab.process import free_port
from tests.lab.programs import environment, program
from tests.lab.proxy import Proxy
from tests.lab.referring_registry import ReferringRegistry
from tests.lab.registry import Registry
from tests.lab.registry_client import RegistryClient, basic
from tests.lab.rootfs import apply_layers

CELLS = {(row, col): {f"models/{row}/{col}": b"%d-%d " % (row, col) * 9000} for row in range(3) for col in range(3)}
MODEL, BASE = "library/model", "library/base"
PARTITION, NEVER_PULLED, WHOLE = "v1--0.0.0.1", "v1--0.0.1.0", "v1"
LOGIN = ("alice", "wonder land")
SBOM = "application/vnd.example.sbom+json"


@dataclass(frozen=True, slots=True)
class Site:
    """A node with a registry, filled, and then on its own."""

    edge: Path
    image: PushedImage
    base: PushedImage
    referrer: Blob
    signature: Blob


def push_signature(url: str, image: PushedImage) -> tuple[Blob, Blob]:
    """Push a referrer of the image's index, and a manifest under cosign's tag; return both manifests."""
    payload = Blob(b'{"what":"payload"}', SBOM)
    config = Blob(b"{}", "application/vnd.oci.empty.v1+json")
    content = {"schemaVersion": 2, "mediaType": OCI.manifest, "config": config.descriptor()}
    layers = {"layers": [payload.descriptor()]}
    subject = {"artifactType": SBOM, "subject": image.top.descriptor()}
    referrer = document({**content, **layers, **subject}, OCI.manifest)
    signature = document({**content, **layers, "annotations": {"what": "signature"}}, OCI.manifest)
    with RegistryClient(url) as client:
        for blob in (payload, config):
            client.push_blob(MODEL, blob)
        client.push_manifest(MODEL, referrer.digest, referrer)
        client.push_manifest(MODEL, f"{image.digest.replace(':', '-')}.sig", signature)
    return referrer, signature


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Site:
    directory = tmp_path_factory.mktemp("site")
    with Registry.start(directory) as stock, ReferringRegistry.start(directory, stock.url) as registry:
        platforms = ("linux/amd64", "linux/arm64")
        style = FieldStyle(sizes=True, media_types=True)
        image = push_field_image(registry.url, MODEL, "v1", cells=CELLS, platforms=platforms, field_style=style)
        base = push_image(registry.url, BASE, "v3")
        referrer, signature = push_signature(registry.url, image)
        edge = directory / "edge"
        with Proxy.start(directory, registry.url, "--edge", str(edge)) as node:
            wanted = (f"{MODEL}:{PARTITION}", f"{BASE}:v3")
            done = run_command("prefetch", "--edge", edge, "--node", node.admin_url, *wanted)
            assert done.status == 0, done.err
    return Site(edge, image, base, referrer, signature)


def skopeo(*arguments: str) -> str:
    return command.run((program("skopeo"), "--insecure-policy", *arguments), environment())


def layout_files(layout: Path) -> dict[str, bytes]:
    """Return the files of the one image in an OCI layout."""
    index = json.loads((layout / "index.json").read_bytes())
    blobs = layout / "blobs/sha256"
    manifest = json.loads((blobs / index["manifests"][0]["digest"][7:]).read_bytes())
    return apply_layers((blobs / one["digest"][7:]).read_bytes() for one in manifest["layers"])


def names(archive: Path) -> list[str]:
    with tarfile.open(archive) as opened:
        return opened.getnames()


def islanded(directory: Path, edge: Path) -> Proxy:
    """Start a node whose registry never answers, and which lets its own clients in."""
    hashed = bcrypt.hashpw(LOGIN[1].encode(), bcrypt.gensalt(4)).decode()
    (directory / "clients").write_text(f"{LOGIN[0]}:{hashed}\n")
    config = (
        f'[auth.clients]\nhtpasswd = "{directory / "clients"}"\n'
        '[upstream.credentials]\nkind = "static"\nusername = "node"\npassword = "node"\n'
    )
    nobody = f"http://127.0.0.1:{free_port()}"
    return Proxy.start(directory, nobody, "--edge", str(edge), config=config)


def test_what_was_carried_is_pulled_where_no_registry_ever_answers(site: Site, tmp_path: Path) -> None:
    archive = tmp_path / "site.tar"
    cache(site.edge, "export", "-o", archive, f"{MODEL}:{PARTITION}", f"{BASE}:v3")
    island = tmp_path / "island"
    done = cache(island, "import", archive, "--json")
    assert {one["reference"] for one in done.json["images"]} == {f"{MODEL}:{PARTITION}", f"{BASE}:v3"}
    assert not any(one["missing"] for one in done.json["images"])
    cells = site.image.select((0, 0, 0, 1))
    with islanded(tmp_path, island) as node, Skopeo.start(tmp_path) as engine:
        engine.login(node.address, *LOGIN)
        for image, tag, selected in ((site.image, PARTITION, cells), (site.base, "v3", [])):
            reference = image.reference(node.address, tag)
            engine.pull(reference, "linux/amd64")
            assert engine.files(reference) == image.files(selected)
        with RegistryClient(node.url) as stranger:
            assert stranger.get_manifest(MODEL, PARTITION).status == 401
    secret = basic(*LOGIN).removeprefix("Basic ").encode()
    assert not [one for one in island.rglob("*") if one.is_file() and secret in one.read_bytes()]


def test_signatures_and_referrers_are_carried_with_what_they_belong_to(site: Site, tmp_path: Path) -> None:
    archive = tmp_path / "site.tar"
    cache(site.edge, "export", "-o", archive, f"{MODEL}:{PARTITION}")
    cache(tmp_path / "island", "import", archive)
    with islanded(tmp_path, tmp_path / "island") as node, RegistryClient(node.url, LOGIN) as client:
        tagged = client.get_manifest(MODEL, f"{site.image.digest.replace(':', '-')}.sig")
        assert tagged.body == site.signature.content
        listed = client.request("GET", f"/v2/{MODEL}/referrers/{site.image.digest}", headers={"Accept": OCI.index})
        entries = json.loads(listed.body)["manifests"]
        assert [one["digest"] for one in entries] == [site.referrer.digest]
        payload = json.loads(site.referrer.content)["layers"][0]["digest"]
        assert client.get_manifest(MODEL, site.referrer.digest).body == site.referrer.content
        assert client.request("GET", f"/v2/{MODEL}/blobs/{payload}").body == b'{"what":"payload"}'


def test_other_tools_read_the_archive(site: Site, tmp_path: Path) -> None:
    archive = tmp_path / "site.tar"
    cache(site.edge, "export", "-o", archive, f"{MODEL}:{PARTITION}", f"{BASE}:v3")
    platform = ("--override-os=linux", "--override-arch=arm64")
    skopeo(*platform, "copy", f"oci-archive:{archive}:{MODEL}:{PARTITION}", f"oci:{tmp_path}/copy")
    assert layout_files(tmp_path / "copy") == site.image.files(site.image.select((0, 0, 0, 1)), "linux/arm64")
    skopeo("copy", f"oci-archive:{archive}:{BASE}:v3", f"oci:{tmp_path}/base")
    assert layout_files(tmp_path / "base") == site.base.files()


def test_the_same_content_gives_the_same_bytes(site: Site, tmp_path: Path) -> None:
    references = (f"{MODEL}:{PARTITION}", f"{BASE}:v3")
    cache(site.edge, "export", "-o", tmp_path / "one.tar", *references)
    cache(site.edge, "export", "-o", tmp_path / "two.tar", *reversed(references))
    assert (tmp_path / "one.tar").read_bytes() == (tmp_path / "two.tar").read_bytes()
    island = tmp_path / "island"
    cache(island, "import", tmp_path / "one.tar")
    cache(island, "export", "-o", tmp_path / "three.tar", *references)
    assert (tmp_path / "three.tar").read_bytes() == (tmp_path / "one.tar").read_bytes()


def test_a_partition_that_nobody_pulled_is_cut_where_its_cells_are(site: Site, tmp_path: Path) -> None:
    refused = cache_command(site.edge, "export", "-o", tmp_path / "x.tar", f"{MODEL}:{NEVER_PULLED}")
    assert refused.status == 1
    assert "blobs of library/model:v1--0.0.1.0 are not here" in refused.err
    assert not (tmp_path / "x.tar").exists()
    cache(site.edge, "export", "-o", tmp_path / "cell.tar", f"{MODEL}:v1--0.1.0.1")
    skopeo("copy", f"oci-archive:{tmp_path}/cell.tar:{MODEL}:v1--0.1.0.1", f"oci:{tmp_path}/copy")
    assert layout_files(tmp_path / "copy") == site.image.files([(0, 1)], "linux/amd64")


@pytest.mark.parametrize("has", ["list", "archive"])
def test_an_archive_leaves_out_what_the_other_side_has(site: Site, tmp_path: Path, has: str) -> None:
    island, first, second = tmp_path / "island", tmp_path / "first.tar", tmp_path / "second.tar"
    cache(site.edge, "export", "-o", first, f"{MODEL}:v1--0.0.0.0")
    cache(island, "import", first)
    if has == "list":
        (tmp_path / "list.json").write_text(cache(island, "ls", "--json").out)
    known = first if has == "archive" else tmp_path / "list.json"
    done = cache(site.edge, "export", "-o", second, "--have", known, f"{MODEL}:{PARTITION}", "--json").json
    layers = {f"blobs/sha256/{layer.blob.digest[7:]}": cell for cell, layer in site.image.allotments.items()}
    assert {layers[name] for name in names(second) if name in layers} == {(0, 1)}
    assert len(done["leftOut"]) >= 5  # the first cell, the base's layer, and the documents of the source
    alone = cache_command(tmp_path / "other", "import", second)
    assert alone.status == 1
    assert "missing, here and in the archive" in alone.out
    cache(island, "import", second)
    with islanded(tmp_path, island) as node, Skopeo.start(tmp_path) as engine:
        engine.login(node.address, *LOGIN)
        reference = site.image.reference(node.address, PARTITION)
        engine.pull(reference, "linux/amd64")
        assert engine.files(reference) == site.image.files(site.image.select((0, 0, 0, 1)))


def test_a_blob_that_was_changed_on_the_way_does_not_count(site: Site, tmp_path: Path) -> None:
    archive, island = tmp_path / "site.tar", tmp_path / "island"
    cache(site.edge, "export", "-o", archive, f"{MODEL}:{PARTITION}")
    cell = site.image.allotments[0, 1].blob
    with tarfile.open(archive) as opened:
        at = opened.getmember(f"blobs/sha256/{cell.digest[7:]}").offset_data
    content = bytearray(archive.read_bytes())
    content[at + 5] ^= 1
    archive.write_bytes(content)
    done = cache_command(island, "import", archive)
    assert done.status == 1
    assert f"does not hash to {cell.digest}" in done.err
    assert cell.digest not in {one["digest"] for one in cache(island, "ls", "--json").json["blobs"]}
    assert not cache(island, "ls", "--json").json["images"]
    assert cache(island, "verify", "--json").json["rotten"] == []
    assert not [*island.rglob("*.part"), *island.glob("blobs/*/.*")]


def test_a_name_in_an_archive_must_be_one_that_is_pulled(site: Site, tmp_path: Path) -> None:
    skopeo("copy", f"oci:{site.edge}:{BASE}:v3", f"oci-archive:{tmp_path}/x.tar:registry.example.org/team/base:v9")
    done = cache(tmp_path / "island", "import", tmp_path / "x.tar")  # of another tool: the registry's name goes
    assert "team/base:v9@sha256:" in done.out
    skopeo("copy", f"oci:{site.edge}:{BASE}:v3", f"oci-archive:{tmp_path}/y.tar:v9")
    refused = cache_command(tmp_path / "island", "import", tmp_path / "y.tar")
    assert refused.status == 1
    assert "has no tag" in refused.err


def test_an_older_archive_does_not_set_a_tag_back(site: Site, tmp_path: Path) -> None:
    archive, island = tmp_path / "old.tar", tmp_path / "island"
    cache(site.edge, "export", "-o", archive, f"{BASE}:v3")
    with Registry.start(tmp_path) as registry:
        newer = push_image(registry.url, BASE, "v3", base={"new": b"er"})
        with Proxy.start(tmp_path, registry.url, "--edge", str(island)) as node:
            with RegistryClient(node.url) as client:
                assert client.get_manifest(BASE, "v3").headers["docker-content-digest"] == newer.digest
            cache(island, "import", archive)
            (image,) = cache(island, "ls", "--images", "--json").json["images"]
    assert image["digest"] == newer.digest
