"""Push an image of the local store to its registry.

Only what the registry lacks travels; layers of the base that are not here come from the base's registry, and pass
through. Credentials are those of 'twodfs login' or 'docker login'. A push that was interrupted goes on when it is
made again, within a blob, too.

A registry that is silent for 60 seconds, or for 15 minutes once it has all of a blob, is asked again, as
one is that says 429 or 5xx: with growing delays, up to 8 times, and for 3 minutes at most.

Example:
    twodfs push registry.example.com/model:v1
"""

from __future__ import annotations

from argparse import Namespace

from twodfs.cli.options import IMAGES, add_output_options, add_registry_options
from twodfs.cli.parser import CommandParser


def declare(parser: CommandParser) -> None:
    """Declare the command's options."""
    target = parser.add_argument("target", metavar="TARGET", help="An image that was built here.")
    parser.list_with(target, IMAGES)
    add_registry_options(parser)
    add_output_options(parser)


def run(arguments: Namespace) -> int:
    """Push an image of the store, and print its reference and digest; raises ``TwodfsError``."""
    from twodfs.cli.console import open_progress, print_json
    from twodfs.cli.pushing import parse_new, push_json, push_summary, relayed_base
    from twodfs.cli.registries import Registries, Security
    from twodfs.publish.push import BlobPusher, push_image, stored_image
    from twodfs.storage.store import ImageStore, base_name_of, default_directory

    security = Security.of(arguments)
    target = parse_new(arguments.target)
    store = ImageStore(default_directory())
    with open_progress(quiet=arguments.quiet) as progress, store.in_use():
        image = stored_image(store, target)
        base_name = base_name_of(image)
        with Registries(target.registry, security) as registries:
            repository = registries.repository(target, push=True)
            relay = relayed_base(base_name, registries)
            pusher = BlobPusher(store, repository, target, base_name, progress, relay=relay)
            pushed = push_image(store, image, pusher)
        progress.note(push_summary(pushed))
    if arguments.json:
        print_json({"reference": str(target), "digest": pushed.root.digest, **push_json(pushed)})
    else:
        print(f"{target}@{pushed.root.digest}")
    return 0
