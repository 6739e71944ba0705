"""Say which cells of two images differ, and how many bytes an update from OLD to NEW moves.

An update moves the blobs that NEW has and OLD has not, wherever they stand: layers of the base, cells, and the
config. Docker's classic store fetches more than that: what stands behind a changed layer, once again.
OLD and NEW may be partitions; --partition compares one of both.

Example:
    twodfs diff registry.example.com/model:v1 registry.example.com/model:v2
    twodfs diff registry.example.com/model:v1 registry.example.com/model:v2 --partition edge

Exit status:
    0  they were compared, whether they differ or not
    1  they could not be
    2  the command line is wrong
    3  they differ, and --exit-code was given
"""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Final

from twodfs.cli.options import IMAGES, add_output_options, add_registry_options
from twodfs.cli.parser import CommandParser
from twodfs.errors import UsageError

if TYPE_CHECKING:
    from twodfs.oci.reference import Reference
    from twodfs.viewing.difference import CellChange, ImageDifference

DIFFERENT: Final = 3
_SHOWN: Final = 40


def declare(parser: CommandParser) -> None:
    """Declare the command's options."""
    for name, text in {"old": "The image that devices have.", "new": "The image that they are to have."}.items():
        parser.list_with(parser.add_argument(name, metavar=name.upper(), help=text), IMAGES)
    parser.add_argument(
        "--partition", metavar="NAME", help="Compare this partition of both: a name or rectangles, as 0.0.1.2--edge."
    )
    parser.add_flag("--exit-code", text="End with 3 where they differ.")
    add_registry_options(parser)
    add_output_options(parser)


def run(arguments: Namespace) -> int:
    """Print the difference of two images; raises ``TwodfsError``."""
    from twodfs.cli.console import print_json, say
    from twodfs.cli.lookup import find
    from twodfs.cli.registries import Registries, Security
    from twodfs.oci.reference import Reference
    from twodfs.viewing.content import contents_of
    from twodfs.viewing.difference import differences

    security = Security.of(arguments)
    old, new = (_part(Reference.parse(text), arguments.partition) for text in (arguments.old, arguments.new))
    with Registries(new.registry, security) as registries:
        # Both are spoken to alike: they are releases of one image, as a rule in one registry.
        registries.secure(old.registry, security)
        before, after = find(old, registries), find(new, registries)
        compared = differences(contents_of(before), contents_of(after), after.source)
    if arguments.json:
        told = {
            "old": {"reference": str(old), "digest": before.root.digest},
            "new": {"reference": str(new), "digest": after.root.digest},
            "images": [one.to_dict() for one in compared],
        }
        print_json(told)
    else:
        say(f"{old}  {before.root.digest}")
        say(f"{new}  {after.root.digest}")
        for line in _describe(compared):
            say(line)
    differs = before.root.digest != after.root.digest and not all(one.is_empty for one in compared)
    return DIFFERENT if differs and arguments.exit_code else 0


def _part(reference: Reference, partition: str | None) -> Reference:
    """Return the partition ``partition`` of an image; the image itself where none is asked for."""
    from dataclasses import replace

    if partition is None:
        return reference
    if reference.digest:
        raise UsageError(f"--partition goes with tags; {reference} has a digest")
    return replace(reference, tag=f"{reference.name}--{partition.removeprefix('--')}")


def _describe(compared: Sequence[ImageDifference]) -> Iterator[str]:
    from twodfs.cli.grid import count_text
    from twodfs.sizes import size_text

    for one in compared:
        if one.new is None:
            yield f"{one.platform}: no image any more"
            continue
        new = "" if one.old else "a new image, "
        yield (
            f"{one.platform}: {new}{count_text(len(one.added), 'cell')} added, {len(one.removed)} removed, "
            f"{len(one.changed)} changed, {one.unchanged} as they were"
        )
        yield from (f"  {line}" for line in _changes(one))
        moved = one.moved
        yield (
            f"  an update moves {count_text(moved.blobs, 'blob')}, {size_text(moved.size)} of {size_text(one.size)}: "
            f"cells {size_text(moved.cells)}, base {size_text(moved.base)}, config {size_text(moved.config)}"
        )


def _changes(one: ImageDifference) -> Iterator[str]:
    from twodfs.cli.grid import MORE

    signed = [
        *(("+", change) for change in one.added),
        *(("-", change) for change in one.removed),
        *(("~", change) for change in one.changed),
    ]
    signed.sort(key=lambda pair: (pair[1].cell.row, pair[1].cell.col))
    yield from (_change(sign, change) for sign, change in signed[:_SHOWN])
    if len(signed) > _SHOWN:
        yield f"{MORE} {len(signed) - _SHOWN} more; --json lists them"


def _change(sign: str, change: CellChange) -> str:
    from twodfs.sizes import size_text

    sides = " -> ".join(size_text(one.size) for one in (change.old, change.new) if one)
    return f"{sign} {change.cell.row}/{change.cell.col}  {sides}  {change.label}".rstrip()
