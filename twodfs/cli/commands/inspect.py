"""Show the field of an image: the size of each allotment, media types and named partitions.

Of a partition it shows what is selected, and of which image.

The local store is looked into first, then the registry.

Example:
    twodfs inspect registry.example.com/model:v1
"""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

from twodfs.cli.options import add_image, add_output_options, add_registry_options
from twodfs.cli.parser import CommandParser

if TYPE_CHECKING:
    from twodfs.field.field import Field
    from twodfs.oci.reference import Reference
    from twodfs.publish.inspection import Inspection
    from twodfs.publish.origin import PartitionOrigin

_GRID_HEIGHT: Final = 40


def declare(parser: CommandParser) -> None:
    """Declare the command's options."""
    add_image(parser)
    add_registry_options(parser)
    add_output_options(parser)


def run(arguments: Namespace) -> int:
    """Print the content of an image; raises ``TwodfsError``."""
    from twodfs.cli.console import print_json, say
    from twodfs.cli.lookup import find
    from twodfs.cli.registries import Registries, Security
    from twodfs.oci.reference import Reference
    from twodfs.publish.inspection import inspect_image
    from twodfs.publish.origin import PartitionOrigin

    security = Security.of(arguments)
    reference = Reference.parse(arguments.reference)
    with Registries(reference.registry, security) as registries:
        image = find(reference, registries)
        found = inspect_image(image.source, image.tag)
    origin = PartitionOrigin.of(image)
    if arguments.json:
        partition = {"partition": origin.to_dict()} if origin else {}
        print_json({"reference": str(reference), **found.to_dict(), **partition})
    else:
        for line in _describe(reference, found, origin):
            say(line)
    return 0


def _describe(reference: Reference, found: Inspection, origin: PartitionOrigin | None) -> Iterator[str]:
    from shutil import get_terminal_size

    from twodfs.cli.grid import count_text, draw
    from twodfs.sizes import size_text

    yield f"{reference}  {found.root.digest}"
    yield f"  {found.root.media_type}"
    for image in found.images:
        its_field = f", field {image.field[:19]}" if image.field else "" if origin else ", no field"
        yield f"  {image.platform}  {image.digest[:19]}  {count_text(image.layers, 'layer')}{its_field}"
    if origin:
        yield f"  a partition: {origin.selection or 'the base alone'}, cut from {origin.named}"
        if origin.allotments is not None:
            count = count_text(origin.allotments, "allotment")
            left = size_text(origin.left_out)
            yield f"  it has {count} of that image, {size_text(origin.size)}; {left} are left out"
        return
    yield "  the index keeps the allotments alive" if found.anchored else "  no anchor for the allotments"
    width = get_terminal_size((100, _GRID_HEIGHT)).columns
    for digest, field in found.fields.items():
        yield ""
        extent = f" in {field.extent}" if field.extent else ""
        count = count_text(field.count, "allotment")
        yield f"field {digest[:19]}: {count}{extent}, {size_text(field.total_bytes)}"
        yield from draw(field, width=width, height=_GRID_HEIGHT)
        yield from _describe_parts(field)


def _describe_parts(field: Field) -> Iterator[str]:
    from twodfs.cli.grid import count_text
    from twodfs.publish.inspection import named_partitions
    from twodfs.sizes import size_text

    for media_type, count in field.media_types().items():
        yield f"  {count} of {media_type}"
    partitions = list(named_partitions(field))
    width = max((len(one.name) for one in partitions), default=0)
    for one in partitions:
        found = "not counted" if one.allotments is None else count_text(one.allotments, "allotment")
        size = f"{found}, {size_text(one.size)}"
        yield f"  --{one.name.ljust(width)}  {size}  {one.selection}"
