"""List the images of the local store.

Example:
    twodfs images --json
"""

from __future__ import annotations

from argparse import Namespace

from twodfs.cli.options import add_output_options
from twodfs.cli.parser import CommandParser


def declare(parser: CommandParser) -> None:
    """Declare the command's options."""
    add_output_options(parser)


def run(arguments: Namespace) -> int:
    """Print the images of the store; raises ``TwodfsError``."""
    from twodfs.build.housekeeping import list_images
    from twodfs.cli.console import print_json, say
    from twodfs.cli.grid import count_text
    from twodfs.sizes import size_text
    from twodfs.storage.store import ImageStore, default_directory

    found = list_images(ImageStore(default_directory()))
    if arguments.json:
        print_json({"images": [one.to_dict() for one in found]})
        return 0
    for one in found:
        count = count_text(one.allotments, "allotment")
        summary = one.problem or f"{count}, {size_text(one.size)}"
        say(f"{one.reference}  {one.digest[:19]}  {summary}")
    return 0
