"""Let pinned images or partitions go when room is needed.

Example:
    twodfs-proxy cache unpin --edge /var/lib/twodfs library/model:v1--0.0.1.2
"""

from __future__ import annotations

from argparse import Namespace
from typing import Any

from twodfs.cli.parser import CommandParser


def declare(parser: CommandParser) -> None:
    """Declare the command's options."""
    from proxy.cache.options import add_directory_options

    parser.add_argument("references", metavar="REF...", nargs="+", help="As it was pinned.")
    add_directory_options(parser)
    parser.add_flag("--json", text="Print the result as JSON, for programs.")


def run(arguments: Namespace) -> int:
    """Take pins back; the exit status is 1 where one was none. Raises ``TwodfsError``."""
    import asyncio

    from proxy.cache.images.reference import CachedName
    from twodfs.cli.console import print_json, say

    done = asyncio.run(_unpinned(arguments, [CachedName.parse(text) for text in arguments.references]))
    if arguments.json:
        print_json({"unpinned": [name for name, was in done.items() if was]})
    else:
        for name, was in done.items():
            say(f"unpinned {name}" if was else f"{name} was not pinned")
    return int(not all(done.values()))


async def _unpinned(arguments: Namespace, names: list[Any]) -> dict[str, bool]:
    from proxy.cache.opened import opened

    async with opened(arguments) as cache:
        return {str(name): await cache.store.pins.unpin(name.place, name.tag) for name in names}
