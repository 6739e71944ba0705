"""List the content of an edge directory, or the images and how much of each is there.

With --json every blob has its digest and size, kind, the time of its last use, and the images that need it; 'cache \
export --have' on another node reads that, to leave out what is here.

Example:
    twodfs-proxy cache ls --edge /var/lib/twodfs
    twodfs-proxy cache ls --edge /var/lib/twodfs --images
    twodfs-proxy cache ls --edge /var/lib/twodfs --json > site-a.json
"""

from __future__ import annotations

from argparse import Namespace
from typing import TYPE_CHECKING

from twodfs.cli.parser import CommandParser

if TYPE_CHECKING:
    from proxy.cache.inventory import CachedBlob, CacheInventory, ImagePresence


def declare(parser: CommandParser) -> None:
    """Declare the command's options."""
    from proxy.cache.options import add_directory_options

    parser.add_flag("--images", text="List images and partitions instead, and what of each is there.")
    add_directory_options(parser)
    parser.add_flag("--json", text="Print the list as JSON, for programs.")


def run(arguments: Namespace) -> int:
    """Print the list; raises ``TwodfsError``."""
    import asyncio

    from twodfs.cli.console import print_json, say

    inventory = asyncio.run(_taken(arguments))
    if arguments.json:
        content = {"images": [one.to_dict() for one in inventory.images]}
        if not arguments.images:
            content["blobs"] = [one.to_dict() for one in inventory.blobs]
        print_json(content)
        return 0
    for line in _images(inventory.images) if arguments.images else _blobs(inventory.blobs):
        say(line)
    return 0


async def _taken(arguments: Namespace) -> CacheInventory:
    from proxy.cache.opened import opened

    async with opened(arguments) as cache:
        return await cache.inventory()


def _blobs(blobs: tuple[CachedBlob, ...]) -> list[str]:
    from proxy.cache.table import age_text, columns, short
    from twodfs.sizes import size_text

    rows = [
        (
            short(one.digest),
            size_text(one.size),
            one.kind,
            age_text(one.used_at),
            "pinned" if one.is_pinned else "",
            _some([str(name) for name in one.names]),
        )
        for one in sorted(blobs, key=lambda one: -one.used_at)
    ]
    return columns(("DIGEST", "SIZE", "KIND", "UNUSED", "PINNED", "IMAGES"), rows)


def _images(images: tuple[ImagePresence, ...]) -> list[str]:
    from proxy.cache.table import columns, short
    from twodfs.sizes import size_text

    rows = []
    for one in images:
        there = "complete" if one.is_complete else f"{one.there} of {one.blobs} blobs"
        size = size_text(one.size) if one.is_complete else f"{size_text(one.size_there)} of {size_text(one.size)}"
        pinned = "pinned" if one.is_pinned else ""
        rows.append((str(one.name), short(one.digest), "" if one.problem else size, pinned, one.problem or there))
    return columns(("IMAGE", "DIGEST", "SIZE", "PINNED", "THERE"), rows)


def _some(names: list[str]) -> str:
    more = f" and {len(names) - 2} more" if len(names) > 2 else ""  # noqa: PLR2004 - as many as fit on a line
    return ", ".join(names[:2]) + more
