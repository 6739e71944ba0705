"""Read all content and compare it with its digests.

A node does that by itself for files that changed, before it serves them. This finds what changed without a trace, as \
on a failing disk. Nothing is removed without --repair; a pull fetches again what was.

Example:
    twodfs-proxy cache verify --edge /var/lib/twodfs
    twodfs-proxy cache verify --edge /var/lib/twodfs --repair --json

Exit status:
    0    all content is right
    1    some is rotten, removed by --repair or not
    2    wrong command line or configuration
"""

from __future__ import annotations

from argparse import Namespace
from typing import Any

from twodfs.cli.parser import CommandParser


def declare(parser: CommandParser) -> None:
    """Declare the command's options."""
    from proxy.cache.options import add_directory_options

    parser.add_flag("--repair", text="Remove what is rotten, so that it is fetched again.")
    add_directory_options(parser)
    parser.add_flag("--json", text="Print the result as JSON, for programs.")
    parser.add_flag("--quiet", "-q", text="Show no progress.")


def run(arguments: Namespace) -> int:
    """Verify all, and print what is rotten; raises ``TwodfsError``."""
    import asyncio

    from twodfs.cli.console import print_json, say
    from twodfs.cli.grid import count_text
    from twodfs.sizes import size_text

    found = asyncio.run(_verified(arguments))
    if arguments.json:
        print_json(found)
    else:
        for one in found["rotten"]:
            needed = f", of {', '.join(one['images'])}" if one["images"] else ""
            done = "removed" if one["removed"] else "left there; --repair removes it"
            say(f"rotten: {one['digest']}{needed}: {done}")
        rotten = f"{len(found['rotten'])} rotten" if found["rotten"] else "all right"
        say(f"{count_text(found['blobs'], 'blob')}, {size_text(found['bytes'])}: {rotten}")
    return int(bool(found["rotten"]))


async def _verified(arguments: Namespace) -> dict[str, Any]:
    import asyncio

    from proxy.cache.opened import opened
    from proxy.cache.verification import remove_rotten, verify_content
    from twodfs.cli.console import open_progress

    async with opened(arguments) as cache:
        with open_progress(quiet=arguments.quiet) as progress:
            result = await asyncio.to_thread(verify_content, cache.disk, progress)
        needed = {one.digest: one.names for one in (await cache.inventory()).blobs} if result.rotten else {}
        rotten = []
        for one in result.rotten:
            if arguments.repair:
                remove_rotten(cache.disk, one)
                await cache.store.blobs.remove(one.digest)  # and what is remembered of it
            is_removed = arguments.repair and not cache.disk.has(one.digest)
            names = list(map(str, needed.get(one.digest, ())))
            rotten.append({"digest": one.digest, "bytes": one.size, "removed": is_removed, "images": names})
    return {"blobs": result.blobs, "bytes": result.size, "rotten": rotten}
