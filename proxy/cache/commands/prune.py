"""Remove content, that used least recently first.

What is pinned stays, and so does what is being read; a pull fetches again what is gone. With several of --older-than, \
--unused and --to, content goes that fulfils all of them.

Example:
    twodfs-proxy cache prune --edge /var/lib/twodfs --older-than 30d --dry-run
    twodfs-proxy cache prune --edge /var/lib/twodfs --to 20GB
"""

from __future__ import annotations

from argparse import Namespace
from typing import TYPE_CHECKING, Any

from twodfs.cli.parser import CommandParser
from twodfs.errors import UsageError

if TYPE_CHECKING:
    from proxy.cache.opened import CacheDirectory
    from proxy.cache.pruning import Pruning


def declare(parser: CommandParser) -> None:
    """Declare the command's options."""
    from proxy.cache.options import add_directory_options

    parser.add_argument("--older-than", metavar="TIME", help="What nobody has read for so long, as 12h or 7d.")
    parser.add_argument("--to", metavar="SIZE", help="Until no more than that is left, as 20GB.")
    parser.add_flag("--unused", text="What no known manifest, tag or list of referrers names.")
    parser.add_flag("--dry-run", text="Say what would go, and leave it.")
    add_directory_options(parser)
    parser.add_flag("--json", text="Print the result as JSON, for programs.")


def run(arguments: Namespace) -> int:
    """Remove content, and print how much; raises ``TwodfsError``."""
    import asyncio

    from proxy.cache.pruning import Pruning
    from proxy.cache.table import parse_age
    from twodfs.cli.console import print_json, say
    from twodfs.cli.grid import count_text
    from twodfs.sizes import parse_size, size_text

    if arguments.older_than is None and arguments.to is None and not arguments.unused:
        raise UsageError("what is to go? say --older-than TIME, --unused or --to SIZE")
    pruning = Pruning(
        None if arguments.older_than is None else parse_age(arguments.older_than, "--older-than"),
        None if arguments.to is None else parse_size(arguments.to),
        arguments.unused,
    )
    done = asyncio.run(_pruned(arguments, pruning))
    if arguments.json:
        print_json(done)
        return 0
    verb = "would remove" if arguments.dry_run else "removed"
    kept = f", {count_text(done['inUse'], 'blob')} in use stay" if done["inUse"] else ""
    freed = f"{count_text(len(done['removed']), 'blob')}, {size_text(done['freedBytes'])}"
    say(f"{verb} {freed}{kept}; {size_text(done['leftBytes'])} are left")
    return 0


async def _pruned(arguments: Namespace, pruning: Pruning) -> dict[str, Any]:
    import time

    from proxy.cache.opened import opened
    from proxy.cache.pruning import chosen

    async with opened(arguments) as cache:
        inventory = await cache.inventory()
        named = await _named(cache) if pruning.unused else frozenset()
        wanted = chosen(inventory.blobs, pruning, named=named, now=time.time())
        gone = [one for one in wanted if arguments.dry_run or await cache.store.blobs.remove(one.digest)]
        freed = sum(one.size for one in gone)
        return {
            "removed": [one.digest for one in gone],
            "inUse": len(wanted) - len(gone),
            "freedBytes": freed,
            "leftBytes": sum(one.size for one in inventory.blobs) - freed,
            "dryRun": arguments.dry_run,
        }


async def _named(cache: CacheDirectory) -> set[Any]:
    from proxy.cache.pruning import named_content

    roots = await cache.roots()
    return await cache.store.state.read(lambda connection: named_content(connection, roots))
