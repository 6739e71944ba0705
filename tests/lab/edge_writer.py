"""Processes that write an edge directory and are killed: `python -m tests.lab.edge_writer DIRECTORY ROUNDS [WRITERS]`.

Each round is so many processes that put, adopt and remove until they get SIGKILL at some instruction. The content that
is in its place stands in DIRECTORY.done, a digest a line: `-` before those that are to be removed.
"""

from __future__ import annotations

import asyncio
import fcntl
import json
import os
import random
import signal
import sys
import time
from pathlib import Path
from typing import Final

from proxy.edge.disk.store import EdgeStore
from tests.lab.edge import new_content, opened_store
from twodfs.oci.digest import Digest

_MOST_SECONDS: Final = 0.08


def main() -> None:
    directory, rounds, writers = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    for _ in range(rounds):
        ready, children = os.pipe(), []
        for _ in range(writers):
            child = os.fork()
            if not child:
                asyncio.run(_write(directory, ready[1]))
            children.append(child)
        for _ in range(writers):
            os.read(ready[0], 1)
        time.sleep(random.uniform(0, _MOST_SECONDS))
        for child in children:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
        for end in ready:
            os.close(end)


async def _write(directory: Path, ready: int) -> None:
    done = os.open(f"{directory}.done", os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    random.seed(os.getpid())
    async with opened_store(directory) as store, asyncio.TaskGroup() as tasks:
        os.write(ready, b".")
        for _ in range(3):
            tasks.create_task(_write_on(store, done))


async def _write_on(store: EdgeStore, done: int) -> None:
    while True:
        digest, content = new_content(random.randrange(1, 200_000))
        is_put = random.random() < 0.5
        if await (store.blobs.put(digest, content) if is_put else adopted(store, digest, content)):
            os.write(done, f"{digest}\n".encode())
        if random.random() < 0.2:
            os.write(done, f"-{digest}\n".encode())
            await store.blobs.remove(digest)


async def adopted(store: EdgeStore, digest: Digest, content: bytes) -> bool:
    """Bring content as a fill does: reserved, written under a lock, adopted; say whether there was room."""
    if not await store.space.reserve(digest, len(content)):
        return False
    path = store.directory.ingest / f"{digest.partition(':')[2]}.part"
    path.with_suffix(".json").write_text(json.dumps({"size": len(content)}))
    with path.open("xb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        for at in range(0, len(content), 65_536):
            file.write(content[at : at + 65_536])
            file.flush()
            await asyncio.sleep(0)
        await store.blobs.adopt(digest, path, file.fileno())
    path.with_suffix(".json").unlink()
    store.space.release(digest)
    return True


if __name__ == "__main__":
    main()
