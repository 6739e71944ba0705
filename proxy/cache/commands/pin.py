"""Let images or partitions stay, whatever else is pulled.

A pin holds all that the image is made of now, also what has not come yet, and of a partition the documents that it is \
cut from. It does not follow a tag that moves: 'twodfs-proxy prefetch --pin' does.

Example:
    twodfs-proxy cache pin --edge /var/lib/twodfs library/model:v1--0.0.1.2 library/base:v3
    twodfs-proxy cache pin --edge /var/lib/twodfs
"""

from __future__ import annotations

from argparse import Namespace
from typing import Any

from twodfs.cli.parser import CommandParser


def declare(parser: CommandParser) -> None:
    """Declare the command's options."""
    from proxy.cache.options import add_directory_options

    text = "An image or a partition, as it is pulled; without any, all pins are listed."
    parser.add_argument("references", metavar="REF...", nargs="*", default=None, help=text)
    add_directory_options(parser)
    parser.add_flag("--json", text="Print the pins as JSON, for programs.")


def run(arguments: Namespace) -> int:
    """Pin images, and print the pins; raises ``TwodfsError``."""
    import asyncio

    from proxy.cache.images.reference import CachedName
    from proxy.cache.table import age_text, columns, short
    from twodfs.cli.console import print_json, say

    names = [CachedName.parse(text) for text in arguments.references or ()]
    pins = asyncio.run(_pinned(arguments, names))
    if arguments.json:
        print_json({"pins": pins})
        return 0
    rows = [(one["reference"], short(one["digest"]), f"{age_text(one['pinnedAt'])} ago") for one in pins]
    for line in columns(("PINNED", "DIGEST", "SINCE"), rows):
        say(line)
    return 0


async def _pinned(arguments: Namespace, names: list[Any]) -> list[dict[str, Any]]:
    import asyncio

    from proxy.cache.images.reference import CachedName
    from proxy.cache.opened import opened
    from proxy.cache.pinning import pin_image

    async with opened(arguments) as cache:
        images = await cache.images()
        found = await asyncio.to_thread(images.find_all, names)  # all of them, or none is pinned
        for image in found:
            await pin_image(cache.store, image)
        pins = await cache.store.pins.all()
    named = {CachedName.of(one.place, one.reference): one for one in pins}
    return [
        {"reference": str(name), "digest": one.digest, "pinnedAt": round(one.at, 3)}
        for name, one in named.items()
        if not names or name in names
    ]
