"""Edge directories of tests."""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from proxy.config.edge import EdgeConfig
from proxy.edge.disk.store import EdgeStore
from twodfs.oci.digest import Digest, digest_of


@contextlib.asynccontextmanager
async def unkept_store(directory: Path, **settings: Any) -> AsyncIterator[EdgeStore]:
    """Yield a store that no keeper cleans up meanwhile, but for what the test tells one to do."""
    lock = os.open(directory / "keeper.lock", os.O_CREAT | os.O_RDWR)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        async with opened_store(directory, **settings) as store:
            yield store
    finally:
        os.close(lock)


@contextlib.asynccontextmanager
async def opened_store(directory: Path, **settings: Any) -> AsyncIterator[EdgeStore]:
    """Yield the store in ``directory``, which may be there already; ``settings`` are of the section ``edge``."""
    # Tests run on disks of any fullness.
    config = EdgeConfig.model_validate({"directory": directory, "min_free": 0, **settings})
    async with EdgeStore.open(config) as store:
        yield store


async def stored(store: EdgeStore, content: bytes) -> Digest:
    """Put ``content`` into the store and return its digest."""
    digest = digest_of(content)
    assert await store.blobs.put(digest, content)
    return digest


def new_content(size: int) -> tuple[Digest, bytes]:
    """Return content that nobody has, with its digest."""
    content = os.urandom(size)
    return digest_of(content), content


async def is_there(store: EdgeStore, digest: Digest) -> bool:
    """Say whether the content can be read."""
    blob = await store.blobs.find(digest)
    if blob is None:
        return False
    with blob:
        return True
