"""Remove from the local store what no image needs, longest unused first.

What an image needs stays, even if that is more than SIZE. Waits for builds and pushes to end.

Example:
    twodfs prune --max-size 20GB
"""

from __future__ import annotations

from argparse import Namespace

from twodfs.cli.options import add_output_options
from twodfs.cli.parser import CommandParser


def declare(parser: CommandParser) -> None:
    """Declare the command's options."""
    parser.add_argument("--max-size", metavar="SIZE", required=True, help="What may stay, as 10GB or 512MiB.")
    parser.add_flag("--images", text="Forget images, too, where the rest is not enough.")
    add_output_options(parser)


def run(arguments: Namespace) -> int:
    """Make the store smaller, and print by how much; raises ``TwodfsError``."""
    from twodfs.build.housekeeping import prune
    from twodfs.cli.console import print_json, say
    from twodfs.cli.grid import count_text
    from twodfs.sizes import parse_size, size_text
    from twodfs.storage.store import ImageStore, default_directory

    pruned = prune(ImageStore(default_directory()), parse_size(arguments.max_size), images=arguments.images)
    if arguments.json:
        print_json(pruned.to_dict())
        return 0
    if arguments.quiet:
        return 0
    for reference in pruned.images:
        say(f"forgot {reference}")
    for one in pruned.damaged:
        say(f"{one.reference} is damaged, and what it needs known in part only: {one.problem}")
    count = count_text(pruned.blobs, "blob")
    say(f"removed {count}, {size_text(pruned.freed)}; {size_text(pruned.left)} are left")
    return 0
