"""Say which allotments of an image the registry lacks, or may lose.

The exit status is 0 when it has and keeps them all, else 1. Tags that are hidden by partitions of the
image are named, too.

Example:
    twodfs doctor registry.example.com/model:v1
"""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

from twodfs.cli.options import add_output_options, add_registry_options
from twodfs.cli.parser import CommandParser

if TYPE_CHECKING:
    from twodfs.oci.reference import Reference
    from twodfs.publish.health import ImageHealth

_TAGS_SHOWN: Final = 8


def declare(parser: CommandParser) -> None:
    """Declare the command's options."""
    parser.add_argument("reference", metavar="REF", help="An image in a registry.")
    add_registry_options(parser)
    add_output_options(parser)


def run(arguments: Namespace) -> int:
    """Print which allotments a registry lacks or may lose; raises ``TwodfsError``."""
    from twodfs.cli.console import print_json, say
    from twodfs.cli.registries import Security
    from twodfs.oci.reference import Reference
    from twodfs.publish.health import examine

    security = Security.of(arguments)
    reference = Reference.parse(arguments.reference)
    with security.open(reference.registry) as registry:
        found = examine(registry.repository(reference.repository), reference.name)
    if arguments.json:
        print_json({"reference": str(reference), **found.to_dict()})
    else:
        for line in _diagnosis(reference, found):
            say(line)
    return 0 if found.is_healthy else 1


def _diagnosis(reference: Reference, found: ImageHealth) -> Iterator[str]:
    from twodfs.cli.grid import count_text
    from twodfs.publish.health import cells_text

    yield f"{reference}  {found.root.digest}"
    if found.missing:
        names = ", ".join(one.digest[:19] for one in found.missing)
        yield f"missing manifests: {names}; push the image again with 'twodfs push'"
    for field in found.fields:
        yield f"field {field.digest[:19]}: {count_text(len(field.present), 'allotment')} in the registry"
        if field.missing:
            yield f"  missing: {cells_text(field.missing)}; push the image again with 'twodfs push'"
        if field.damaged:
            cells = cells_text(field.damaged)
            yield f"  of another size than the field says: {cells}; push the image again with 'twodfs push'"
        if field.unprotected:
            yield (
                f"  unprotected, garbage collection deletes them and copies leave them out: "
                f"{cells_text(field.unprotected)}; 'twodfs anchor {reference}' protects them"
            )
    if found.is_healthy:
        yield "all of them are anchored"
    if found.hidden:
        more = " and more" if len(found.hidden) > _TAGS_SHOWN else ""
        yield (
            f"{count_text(len(found.hidden), 'tag')} hidden by partitions of this image: "
            f"{', '.join(found.hidden[:_TAGS_SHOWN])}{more}; the proxy answers them with the partition, "
            f"and refuses to write them: delete them at the registry, past the proxy"
        )
