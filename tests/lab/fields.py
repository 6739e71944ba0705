"""Large fields: images whose allotments are nowhere, which is enough for whoever only reads manifests."""

import json

from tests.lab.documents import FIELD_LAYER, OCI, document
from tests.lab.images import build_image
from tests.lab.layers import Blob
from tests.lab.registry_client import RegistryClient

SIZE = 1_000_003
"""Bytes of each allotment, so they say."""


def cell_hex(row: int, col: int) -> str:
    """Return the digest, in bare hex, of the allotment that would be there."""
    return f"{(row << 32 | col) + 1:064x}"


def large_field(rows: int, columns: int) -> Blob:
    """Return a field without holes, as `twodfs build` writes it."""

    def cell(row: int, col: int) -> str:
        digest = cell_hex(row, col)
        more = f'"size":{SIZE},"mediaType":"{OCI.layer}"'
        return f'{{"row":{row},"col":{col},"digest":"{digest}","diffid":"{digest}",{more}}}'

    written = (",".join(cell(row, col) for col in range(columns)) for row in range(rows))
    joined = ",".join(f'{{"allotments":[{row}],"allotments_size":{columns}}}' for row in written)
    return Blob(f'{{"rows":[{joined}],"rows_size":{rows},"owner":""}}'.encode(), FIELD_LAYER)


def push_bare_field(url: str, repository: str, tag: str, field: Blob) -> None:
    """Push an image of one platform that has `field`."""
    image = build_image(None, kind="oci-manifest")
    manifest = json.loads(image.top.content)
    manifest["layers"].append(field.descriptor())
    with RegistryClient(url) as client:
        for blob in (*image.blobs, field):
            client.push_blob(repository, blob)
        client.push_manifest(repository, tag, document(manifest, OCI.manifest))
