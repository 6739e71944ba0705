"""Make the allotments of an image known to its registry, so that it keeps them.

For images of the original builder, and those built with --anchor none: the tag gets an index with one
more entry, whose layers are the allotments. An anchor of an earlier release, which tools that validate
images refuse, is replaced. An image that is well stays as it is.

Example:
    twodfs anchor registry.example.com/model:v1
"""

from __future__ import annotations

from argparse import Namespace
from typing import TYPE_CHECKING

from twodfs.cli.options import add_output_options, add_registry_options
from twodfs.cli.parser import CommandParser

if TYPE_CHECKING:
    from twodfs.publish.anchoring import Anchored


def declare(parser: CommandParser) -> None:
    """Declare the command's options."""
    parser.add_argument("target", metavar="REF", help="An image in a registry.")
    add_registry_options(parser)
    add_output_options(parser)


def run(arguments: Namespace) -> int:
    """Let a registry know the allotments of an image, and print the result; raises ``TwodfsError``."""
    from twodfs.cli.console import open_progress, print_json, say
    from twodfs.cli.pushing import parse_target
    from twodfs.cli.registries import Security
    from twodfs.publish.anchoring import anchor_image

    security = Security.of(arguments)
    target = parse_target(arguments.target)
    with open_progress(quiet=arguments.quiet) as progress:
        with security.open(target.registry) as registry:
            done = anchor_image(registry.repository(target.repository, push=True), target.name)
        progress.note(_summary(done))
    if arguments.json:
        content = {
            "reference": str(target),
            "digest": done.root.digest,
            "before": done.before,
            "anchored": done.allotments,
            "wrapped": done.wrapped,
            "renewed": done.renewed,
        }
        print_json(content)
    else:
        say(f"{target}@{done.root.digest}")
    return 0


def _summary(done: Anchored) -> str:
    from twodfs.cli.grid import count_text

    if done.root.digest == done.before:
        return "all allotments are anchored; nothing was done"
    if done.renewed:
        return "replaced the anchor of an earlier release, which tools that validate images refused"
    wrapped = "; the image was put into an index for that" if done.wrapped else ""
    return f"anchored {count_text(done.allotments, 'allotment')}, which nothing had protected{wrapped}"
