"""Say how much there is, how much room is left, and how old it is.

Hits, fills and evictions since the node's start are at its /metrics.

Example:
    twodfs-proxy cache stats --edge /var/lib/twodfs
"""

from __future__ import annotations

from argparse import Namespace
from typing import Any

from twodfs.cli.parser import CommandParser


def declare(parser: CommandParser) -> None:
    """Declare the command's options."""
    from proxy.cache.options import add_directory_options

    add_directory_options(parser)
    parser.add_flag("--json", text="Print the numbers as JSON, for programs.")


def run(arguments: Namespace) -> int:
    """Print the numbers; raises ``TwodfsError``."""
    import asyncio

    from proxy.cache.table import age_text, columns
    from twodfs.cli.console import print_json, say
    from twodfs.cli.grid import count_text
    from twodfs.sizes import size_text

    found = asyncio.run(_counted(arguments))
    if arguments.json:
        print_json(found)
        return 0
    oldest = "" if found["oldestUse"] is None else f"{age_text(found['oldestUse'])} ago"
    rows = [
        ("content", f"{count_text(found['blobs'], 'blob')}, {size_text(found['bytes'])}"),
        ("pinned", f"{count_text(found['pinnedBlobs'], 'blob')}, {size_text(found['pinnedBytes'])}"),
        ("on its way", size_text(found["fillingBytes"])),
        ("bound", size_text(found["boundBytes"])),
        ("free disk", size_text(found["freeBytes"])),
        ("images", f"{found['images']}, {found['completeImages']} of them complete"),
        ("oldest use", oldest or "none"),
    ]
    for line in columns((found["directory"], ""), rows):
        say(line)
    for kind, size in found["bytesByKind"].items():
        say(f"  {kind:<12}{size_text(size)}")
    return 0


async def _counted(arguments: Namespace) -> dict[str, Any]:
    from proxy.cache.opened import CacheError, opened

    async with opened(arguments) as cache:
        room = await cache.store.space.measure()
        if room is None:
            raise CacheError(f"{cache.store.directory.root} cannot be measured: its disk or its state fails")
        inventory = await cache.inventory()
    pinned = [one for one in inventory.blobs if one.is_pinned]
    kinds: dict[str, int] = {}
    for one in inventory.blobs:
        kinds[one.kind] = kinds.get(one.kind, 0) + one.size
    return {
        "directory": str(cache.store.directory.root),
        "blobs": len(inventory.blobs),
        "bytes": sum(one.size for one in inventory.blobs),
        "bytesByKind": dict(sorted(kinds.items())),
        "pinnedBlobs": len(pinned),
        "pinnedBytes": sum(one.size for one in pinned),
        "fillingBytes": room.on_its_way,
        "boundBytes": room.bound,
        "freeBytes": room.free,
        "images": len(inventory.images),
        "completeImages": sum(one.is_complete for one in inventory.images),
        "oldestUse": min((one.used_at for one in inventory.blobs), default=None),
    }
