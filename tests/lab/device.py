"""A device that pulls as an engine does, keeps what it has, and checks every byte."""

import asyncio
import contextlib
import hashlib
import json
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Self

import aiohttp

from tests.lab.documents import DOCKER, OCI

_ACCEPT = f"{OCI.index}, {OCI.manifest}, {DOCKER.index}, {DOCKER.manifest}"
_AT_ONCE = 3
"""Layers that Docker and containerd download side by side."""
_PATIENCE = 120.0
"""Seconds without a byte."""


class PullError(Exception):
    """A pull got another answer than it needs, or other bytes than the digest says."""

    def __init__(self, what: str, status: int = 0) -> None:
        super().__init__(f"{what}: {status}" if status else what)
        self.status = status


@dataclass(frozen=True, slots=True)
class Pulled:
    """What a pull brought."""

    digest: str
    """Of the index, or of the manifest where there is none."""
    documents: dict[str, bytes] = field(repr=False)
    """Index, manifest and config by digest."""
    layers: tuple[str, ...]
    seconds: float
    warned: bool
    """Whether the tag was answered with a Warning."""


class Device:
    """`async with Device.of(url) as device: ...`; `kept` has the digests and sizes of all blobs that it has."""

    def __init__(self, session: aiohttp.ClientSession) -> None:
        self._session = session
        self._downloads = asyncio.Semaphore(_AT_ONCE)
        self.kept: dict[str, int] = {}

    @classmethod
    @contextlib.asynccontextmanager
    async def of(cls, url: str, **headers: str) -> AsyncIterator[Self]:
        """Pull from the registry or the proxy at `url`, with these headers in each request."""
        timeout = aiohttp.ClientTimeout(total=None, sock_read=_PATIENCE)
        connector = aiohttp.TCPConnector(limit=_AT_ONCE)
        async with aiohttp.ClientSession(
            url, headers={"Accept": _ACCEPT, **headers}, timeout=timeout, connector=connector, auto_decompress=False
        ) as session:
            yield cls(session)

    async def pull(self, repository: str, tag: str, *, with_layers: bool = True) -> Pulled:
        """HEAD the tag, GET index, manifest and config by digest, then the layers that it has not; raises PullError."""
        started = time.perf_counter()
        root = f"/v2/{repository}"
        async with self._session.head(f"{root}/manifests/{tag}") as head:
            if head.status != 200:
                raise PullError(f"HEAD {tag}", head.status)
            digest, warned = head.headers["Docker-Content-Digest"], "Warning" in head.headers
        documents = {digest: await self._document(f"{root}/manifests/{digest}", digest)}
        manifest: dict[str, Any] = json.loads(documents[digest])
        if "manifests" in manifest:
            child = manifest["manifests"][0]["digest"]
            documents[child] = await self._document(f"{root}/manifests/{child}", child)
            manifest = json.loads(documents[child])
        config = manifest["config"]["digest"]
        documents[config] = await self._document(f"{root}/blobs/{config}", config)
        layers = tuple(layer["digest"] for layer in manifest["layers"])
        async with asyncio.TaskGroup() as tasks:
            for one in dict.fromkeys(layers if with_layers else ()):
                if one not in self.kept:
                    tasks.create_task(self._layer(f"{root}/blobs/{one}", one))
        return Pulled(digest, documents, layers, time.perf_counter() - started, warned)

    async def _document(self, target: str, digest: str) -> bytes:
        async with self._session.get(target) as answer:
            if answer.status != 200:
                raise PullError(f"GET {target}", answer.status)
            content = await answer.read()
        if digest != f"sha256:{hashlib.sha256(content).hexdigest()}":
            raise PullError(f"GET {target}: other bytes")
        return content

    async def _layer(self, target: str, digest: str) -> None:
        hashed, size = hashlib.sha256(), 0
        async with self._downloads, self._session.get(target) as answer:
            if answer.status != 200:
                raise PullError(f"GET {target}", answer.status)
            async for piece in answer.content.iter_any():
                hashed.update(piece)
                size += len(piece)
        if digest != f"sha256:{hashed.hexdigest()}":
            raise PullError(f"GET {target}: other bytes")
        self.kept[digest] = size


async def pull_each(url: str, repository: str, tags: Sequence[str], *, with_layers: bool = True) -> list[Pulled]:
    """Let a device for each of the tags pull it, all at the same time; the first that fails is raised for all."""
    return await pull_images(url, [(repository, tag) for tag in tags], with_layers=with_layers)


async def pull_images(url: str, images: Sequence[tuple[str, str]], *, with_layers: bool = True) -> list[Pulled]:
    """Let a device for each of the images, repository and tag, pull it as `pull_each` does."""

    async def pull(repository: str, tag: str) -> Pulled:
        async with Device.of(url) as device:
            return await device.pull(repository, tag, with_layers=with_layers)

    async with asyncio.TaskGroup() as tasks:
        pulls = [tasks.create_task(pull(*image)) for image in images]
    return [one.result() for one in pulls]
