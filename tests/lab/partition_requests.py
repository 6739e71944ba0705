"""An image for a fake registry, and requests for its partitions."""

from typing import Any

import aiohttp

from tests.lab.documents import DOCKER, OCI
from tests.lab.images import Image, build_image
from tests.lab.layers import Blob

CELLS = {(row, col): {f"{row}/{col}": b"%d/%d" % (row, col)} for row in range(3) for col in range(3)}


IMAGE = build_image(CELLS, platforms=("linux/amd64", "linux/arm64"))


ALL = f"{OCI.index}, {OCI.manifest}, {DOCKER.index}, {DOCKER.manifest}"


TAG = "/v2/team/model/manifests/v1--0.0.1.1"


async def get(
    client: aiohttp.ClientSession, url: str, method: str = "GET", **headers: str
) -> tuple[int, dict[str, str], Any]:
    given = {"Accept": ALL} | {name.replace("_", "-"): value for name, value in headers.items()}
    async with client.request(method, url, headers=given, allow_redirects=False) as response:
        is_json = "json" in response.headers.get("Content-Type", "") and method != "HEAD"
        body: Any = await response.json(content_type=None) if is_json else await response.read()
        return response.status, dict(response.headers), body


async def message(client: aiohttp.ClientSession, url: str, **headers: str) -> tuple[int, str, str]:
    status, _, body = await get(client, url, **headers)
    (error,) = body["errors"]
    return status, error["code"], error["message"]


def with_field(content: bytes) -> Image:
    """Return an image whose field blob is `content`."""
    image = build_image(CELLS, kind="oci-manifest")
    assert image.field_blob is not None
    bad = Blob(content, image.field_blob.media_type)
    replaced = image.top.content.replace(image.field_blob.digest.encode(), bad.digest.encode())
    replaced = replaced.replace(b'"size":%d' % image.field_blob.size, b'"size":%d' % bad.size)
    replaced = replaced.replace(b'"size": %d' % image.field_blob.size, b'"size": %d' % bad.size)
    top = Blob(replaced, image.top.media_type)
    return Image(
        top=top,
        platforms=image.platforms,
        cells=image.cells,
        allotments=image.allotments,
        field_blob=bad,
        field_position=image.field_position,
        blobs=(*image.blobs, bad),
        manifests=(top,),
    )
