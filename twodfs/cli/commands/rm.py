"""Forget images of the local store.

Their allotments stay for the next build, until 'twodfs prune' needs the room.

Example:
    twodfs rm registry.example.com/model:v1
"""

from __future__ import annotations

from argparse import Namespace

from twodfs.cli.options import IMAGES, add_output_options
from twodfs.cli.parser import CommandParser


def declare(parser: CommandParser) -> None:
    """Declare the command's options."""
    references = parser.add_argument("references", metavar="REF...", nargs="+", help="Images that were built here.")
    parser.list_with(references, IMAGES)
    add_output_options(parser)


def run(arguments: Namespace) -> int:
    """Forget images, and print which; raises ``TwodfsError``."""
    from twodfs.build.housekeeping import remove_images
    from twodfs.cli.console import print_json, say
    from twodfs.oci.reference import Reference
    from twodfs.storage.store import ImageStore, default_directory

    store = ImageStore(default_directory())
    references = list(dict.fromkeys(str(Reference.parse(text)) for text in arguments.references))
    remove_images(store, references)
    if arguments.json:
        print_json({"removed": references})
        return 0
    for reference in () if arguments.quiet else references:
        say(reference)
    return 0
