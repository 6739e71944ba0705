"""Images made to be costly to cut: the proxy goes on answering others, and gives its memory back."""

import asyncio
import re
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import orjson
import pytest
from aiohttp import web

from proxy.partitions.cutting import MOST_HERE
from tests.integration.fake_registry import proxied, served
from tests.lab.documents import FIELD_LAYER, OCI
from tests.lab.proxy import Proxy
from twodfs.budget import MAX_DOCUMENT_BYTES
from twodfs.digest import digest_of
from twodfs.field import MAX_NAMED_RECTANGLES, MAX_SELECTED_RECTANGLES

MIB = 2**20
DIFF_ID = "sha256:" + "d1" * 32
_PATH = re.compile(r"/v2/(?P<repository>[^/]+)/(?:manifests|blobs)/(?P<reference>[^/]+)")


@dataclass
class Shelf:
    """What a registry holds: documents by digest, and what `v1` names in each repository."""

    documents: dict[str, tuple[str, bytes]] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)

    def add(self, media_type: str, content: bytes | dict[str, Any], **more: Any) -> dict[str, Any]:
        body = content if isinstance(content, bytes) else orjson.dumps(content)
        digest = digest_of(body)
        self.documents[digest] = media_type, body
        return {"mediaType": media_type, "digest": digest, "size": len(body)} | more

    def image(self, field_body: bytes, layers: int = 1, ballast: int = 0, **config: Any) -> dict[str, Any]:
        """Put an image on the shelf, `ballast` bytes in its manifest, and return its descriptor."""
        at = len(self.documents)
        base = [{"mediaType": OCI.layer, "digest": DIFF_ID, "size": 1} for _ in range(layers)]
        content = {
            "rootfs": {"type": "layers", "diff_ids": [DIFF_ID] * layers},
            "history": [],
            "os": "linux",
            "n": at,
            **config,
        }
        manifest = {
            "schemaVersion": 2,
            "mediaType": OCI.manifest,
            "config": self.add(OCI.config, content),
            "layers": [*base, self.add(FIELD_LAYER, field_body)],
            "annotations": {"n": str(at), "ballast": "x" * ballast},
        }
        return self.add(OCI.manifest, manifest, platform={"os": "linux", "architecture": f"a{at}"})

    def tag(self, repository: str, entries: list[dict[str, Any]]) -> None:
        index = {"schemaVersion": 2, "mediaType": OCI.index, "manifests": entries}
        self.tags[repository] = self.add(OCI.index, index)["digest"]

    async def answer(self, request: web.Request) -> web.StreamResponse:
        match = _PATH.fullmatch(request.path)
        self.asked.append(request.path)
        if match is None:
            return web.Response()
        reference = self.tags.get(match["repository"]) if match["reference"] == "v1" else match["reference"]
        found = self.documents.get(str(reference))
        if found is None:
            return web.json_response({"errors": [{"code": "UNKNOWN"}]}, status=404)
        headers = {"Docker-Content-Digest": str(reference), "Content-Type": found[0]}
        return web.Response(body=found[1], headers=headers)


def grid(rows: int, columns: int, **more: Any) -> bytes:
    cells = [
        [
            {"row": row, "col": col, "digest": f"{row << 32 | col:064x}", "diffid": "ab" * 32, "size": 7}
            for col in range(columns)
        ]
        for row in range(rows)
    ]
    return orjson.dumps({"rows": [{"allotments": row, "allotments_size": columns} for row in cells]} | more)


def crossing(first: int, count: int) -> str:
    """Return so many rectangles, none within another, all of them across the cell 400/400."""
    return "--".join(f"{n}.{400 - n}.{800 - n}.{400 + n}" for n in range(first, first + count))


GRID = grid(2, 2)
LETTERS = [*map(chr, range(ord("a"), ord("z") + 1)), *(f"a{n}" for n in range(10)), "b0"]
NAMES = {name: crossing(1 + at, MAX_NAMED_RECTANGLES) for at, name in enumerate(LETTERS)}
CHAINED = grid(1, 1)[:-1].replace(b'"row":0,"col":0', b'"row":400,"col":400') + b',"partitions":' + orjson.dumps(NAMES) + b"}"
