"""Keys in a foreign case, as engines written in Go read them: skopeo tells what that is."""

import asyncio
import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from tests.lab.fake_registry import FakeRegistry, proxied, serving
from tests.lab.go_json import MANIFEST, as_engines_read
from tests.lab.images import build_image
from tests.lab.programs import program
from twodfs.oci.digest import digest_of
from twodfs.oci.documents import OCI_CONFIG, OCI_LAYER, OCI_MANIFEST

IMAGE = build_image({(0, 0): {"0/0": b"zero"}, (0, 1): {"0/1": b"one"}}, platforms=("linux/amd64",))
LONG_S = "\N{LATIN SMALL LETTER LONG S}"
CONFIG = b'{"architecture":"amd64","os":"linux","rootfs":{"type":"layers","diff_ids":[]}}'


def layer(content: bytes) -> dict[str, Any]:
    return {"mediaType": OCI_LAYER, "digest": digest_of(content), "size": len(content)}


def with_layers(*keys: str) -> bytes:
    """Return a manifest with one layer of its own under each key."""
    members = {
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "config": {"mediaType": OCI_CONFIG, "digest": digest_of(CONFIG), "size": len(CONFIG)},
    }
    return json.dumps(members | {key: [layer(b"%d" % at)] for at, key in enumerate(keys)}).encode()


def skopeo(*arguments: str) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run([program("skopeo"), *arguments], capture_output=True, check=False)


@pytest.mark.parametrize(
    "keys",
    [
        ("layers", "Layers"),
        ("Layers", "layers"),
        (f"layer{LONG_S}",),
        ("layers", f"LAYER{LONG_S}", "layers2"),
        ("layers", "läyers"),
    ],
)
def test_our_folding_reader_reads_as_skopeo_does(keys: tuple[str, ...], tmp_path: Path) -> None:
    manifest = with_layers(*keys)
    for content in (manifest, CONFIG):
        blob = tmp_path / "blobs" / digest_of(content).replace(":", "/")
        blob.parent.mkdir(parents=True, exist_ok=True)
        blob.write_bytes(content)
    entry = {"mediaType": OCI_MANIFEST, "digest": digest_of(manifest), "size": len(manifest)}
    (tmp_path / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": [entry]}))
    (tmp_path / "oci-layout").write_text('{"imageLayoutVersion":"1.0.0"}')
    seen = skopeo("inspect", f"oci:{tmp_path}")
    read = as_engines_read(MANIFEST, manifest)["layers"]
    assert json.loads(seen.stdout)["Layers"] == [one["digest"] for one in read]


@pytest.mark.parametrize(
    ("key", "value"), [("Layers", [layer(b"not what was signed")]), (f"layer{LONG_S}", None), ("Config", {})]
)
async def test_skopeo_gets_no_partition_of_an_image_that_it_reads_differently(key: str, value: object) -> None:
    content = json.dumps(json.loads(IMAGE.manifests[0].content) | {key: value}).encode()
    digest = digest_of(content)

    async def spoiled(request: web.Request) -> web.StreamResponse | None:
        if not request.path.endswith(("/manifests/v1", f"/manifests/{digest}")):
            return None
        headers = {"Docker-Content-Digest": digest, "Content-Type": OCI_MANIFEST}
        return web.Response(body=content, headers=headers)

    async with serving(FakeRegistry(IMAGE, spoiled)) as registry, proxied(registry.url) as url:
        place = f"docker://{url.removeprefix('http://')}/team/model"
        raw = ("inspect", "--raw", "--tls-verify=false")
        whole = await asyncio.to_thread(skopeo, *raw, f"{place}:v1")
        part = await asyncio.to_thread(skopeo, *raw, f"{place}:v1--0.0.0.0")
    assert whole.stdout == content  # what is passed on is passed on as it is
    assert part.returncode
    assert not part.stdout
    assert b"manifest invalid" in part.stderr
    assert b"engines take the key" in part.stderr
