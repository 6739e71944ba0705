"""What a full Redis drops first, by its policy: `python -m benchmarks.eviction`.

It fills a small Redis as replicas do that never stop to cut: documents and partitions that live a day,
recipes that live ninety, as does the canary of each replica, by which it sees that Redis was emptied.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import tempfile
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from pydantic import SecretStr

from proxy.config import CacheConfig
from proxy.partitions.records import Content, ContentKey, Provenance, ProvenanceKey, Provenances
from proxy.repository import DEFAULT_UPSTREAM, Repository
from proxy.store.records import Record, RecordKey
from proxy.store.redis import RedisStore
from tests.lab.redis import Redis
from twodfs.field.partition import Selection
from twodfs.oci.digest import digest_of

POLICIES: Final = ("noeviction", "allkeys-lru", "volatile-lru", "volatile-lfu", "volatile-ttl")
REPLICAS: Final = 3
DOCUMENT: Final = 24 * 1024
"""Bytes of a partition's documents, roughly; a recipe has two hundred."""
_REPOSITORY: Final = Repository(DEFAULT_UPSTREAM, "library/model")
_BEAT: Final = 0.5
_WRITERS: Final = 8


@dataclass(frozen=True, slots=True)
class Lost:
    """What became of all that was put, and of the canaries.

    ``alarms``: how often a replica took Redis for emptied; ``recipes``: of a hundred; ``refused``: puts.
    """

    policy: str
    evicted: int
    alarms: int
    recipes: float
    refused: float


@asynccontextmanager
async def _replicas(url: str) -> AsyncIterator[list[RedisStore]]:
    config = CacheConfig(redis_url=SecretStr(url))
    async with AsyncExitStack() as stack:
        yield [await stack.enter_async_context(RedisStore.connect(config)) for _ in range(REPLICAS)]


async def fill(policy: str, directory: Path, *, megabytes: int, times: int) -> Lost:
    """Put ``times`` as much as a Redis of ``megabytes`` holds, and return what that cost."""
    put: list[ProvenanceKey] = []
    tried = refused = 0
    with Redis.start(directory, "--maxmemory", f"{megabytes}mb", "--maxmemory-policy", policy) as server:
        async with _replicas(server.url) as stores:
            before = sum(store.generation for store in stores)
            count = times * megabytes * 2**20 // DOCUMENT

            async def write(first: int) -> None:
                nonlocal tried, refused
                for at in range(first, count, _WRITERS):
                    body = os.urandom(DOCUMENT)
                    digest = digest_of(body)
                    recipe = ProvenanceKey(digest)
                    recipes = Provenances((Provenance(digest, Selection.parse("0.0.0.0")),))
                    records: dict[RecordKey[Any], Record] = {
                        ContentKey(_REPOSITORY, digest): Content(body),
                        recipe: recipes,
                    }
                    tried += 1
                    if await stores[at % REPLICAS].put(records):
                        put.append(recipe)
                    else:
                        refused += 1
                        await asyncio.sleep(0.01)

            async with asyncio.TaskGroup() as tasks:
                for first in range(_WRITERS):
                    tasks.create_task(write(first))
            await asyncio.sleep(3 * _BEAT)  # every replica has looked for its canary since
            alarms = sum(store.generation for store in stores) - before
        with server.client() as client:
            names = [f"{CacheConfig().key_prefix}:{key}" for key in put]
            there = sum(client.exists(name) for name in names)
            evicted = int(client.info("stats")["evicted_keys"])
    lost = 100 * (1 - there / len(names)) if names else 100.0
    return Lost(policy, evicted, alarms, lost, 100 * refused / tried)


def table(found: Sequence[Lost]) -> str:
    """Return the results as the table of ``docs/operations.md``."""
    rows = [
        '| `maxmemory-policy` | evicted | "Redis was emptied" | recipes lost | puts refused |',
        "|---|---|---|---|---|",
    ]
    rows += [
        f"| `{one.policy}` | {one.evicted:,} | {one.alarms} | {one.recipes:.0f} % | {one.refused:.0f} % |"
        for one in found
    ]
    return "\n".join(rows)


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure all policies and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--megabytes", type=int, default=32)
    parser.add_argument("--times", type=int, default=4, help="how much is put, in sizes of the Redis")
    asked = parser.parse_args(arguments)
    found = []
    for policy in POLICIES:
        with tempfile.TemporaryDirectory() as directory:
            found.append(asyncio.run(fill(policy, Path(directory), megabytes=asked.megabytes, times=asked.times)))
    print(table(found))


if __name__ == "__main__":
    main()
