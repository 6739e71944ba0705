"""Show the field of an image: the size of each allotment, media types and named partitions.

Labels of rows, columns and cells are shown where the build file gave them. Of a partition it shows which cells are
selected, from which image, and what it costs: cells and base, in layers and bytes. It need not be pulled for that,
and no proxy is asked.

With --files, the files of each cell, too: the headers of its tar are read, of a plain one a few kilobytes whatever
its size. Names that a registry gives this way are not verified. A compressed cell is read from its start, of a
registry's 8 MiB at most.

The local store is looked into first, then the registry.

Example:
    twodfs inspect registry.example.com/model:v1
    twodfs inspect registry.example.com/model:v1--edge --files
"""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Final

from twodfs.cli.options import add_image, add_output_options, add_registry_options
from twodfs.cli.parser import CommandParser

if TYPE_CHECKING:
    from twodfs.field.allotment import Allotment
    from twodfs.field.field import Field
    from twodfs.field.labels import Labels
    from twodfs.oci.digest import Digest
    from twodfs.oci.documents import Json
    from twodfs.oci.reference import Reference
    from twodfs.publish.cutting import FoundImage
    from twodfs.publish.origin import PartitionOrigin
    from twodfs.viewing.content import ImageContent
    from twodfs.viewing.files import LayerFiles
    from twodfs.viewing.inspection import Inspection

_GRID_HEIGHT: Final = 40
_CELLS_SHOWN: Final = 40


def declare(parser: CommandParser) -> None:
    """Declare the command's options."""
    add_image(parser)
    parser.add_flag("--files", text="Show the files of each cell; a question to the registry for each, or several.")
    add_registry_options(parser)
    add_output_options(parser)


def run(arguments: Namespace) -> int:
    """Print the content of an image; raises ``TwodfsError``."""
    from twodfs.cli.console import print_json, say
    from twodfs.cli.lookup import find
    from twodfs.cli.registries import Registries, Security
    from twodfs.oci.reference import Reference
    from twodfs.publish.origin import PartitionOrigin
    from twodfs.viewing.content import contents_of
    from twodfs.viewing.inspection import inspect_image

    security = Security.of(arguments)
    reference = Reference.parse(arguments.reference)
    with Registries(reference.registry, security) as registries:
        image = find(reference, registries)
        found = inspect_image(image)
        origin = PartitionOrigin.of(image)
        parts = contents_of(image) if origin else ()
        sides = [part.cells for part in parts] if origin else [known.cells for known in found.fields.values()]
        files = _files(image, (one for cells in sides for one in cells)) if arguments.files else {}
    if arguments.json:
        partition = {"partition": _partition_json(origin, parts, files)} if origin else {}
        print_json({"reference": str(reference), **found.to_dict(files), **partition})
    else:
        for line in _describe(reference, found, origin, parts, files):
            say(line)
    return 0


def _files(image: FoundImage, cells: Iterable[Allotment]) -> dict[Digest, LayerFiles]:
    from twodfs.viewing.files import files_of_cells
    from twodfs.viewing.parts import source_of_cells

    return files_of_cells(source_of_cells(image), cells)


def _partition_json(origin: PartitionOrigin, parts: Sequence[ImageContent], files: Mapping[Digest, LayerFiles]) -> Json:
    from twodfs.viewing.inspection import cell_json

    images = [
        {**part.to_dict(), "selected": [cell_json(one, part.labels, files) for one in part.cells]} for part in parts
    ]
    return {**origin.to_dict(), "images": images}


def _describe(
    reference: Reference,
    found: Inspection,
    origin: PartitionOrigin | None,
    parts: Sequence[ImageContent],
    files: Mapping[Digest, LayerFiles],
) -> Iterator[str]:
    from shutil import get_terminal_size

    from twodfs.cli.grid import count_text, draw
    from twodfs.sizes import size_text

    yield f"{reference}  {found.root.digest}"
    yield f"  {found.root.media_type}"
    for image in found.images:
        its_field = f", field {image.field[:19]}" if image.field else "" if origin else ", no field"
        yield f"  {image.platform}  {image.digest[:19]}  {count_text(len(image.base), 'layer')}{its_field}"
    if origin:
        yield from _describe_partition(origin, parts, files)
        return
    yield "  the index keeps the allotments alive" if found.anchored else "  no anchor for the allotments"
    width = get_terminal_size((100, _GRID_HEIGHT)).columns
    for digest, known in found.fields.items():
        field, labels = known.cells, known.labels
        yield ""
        extent = f" in {field.extent}" if field.extent else ""
        count = count_text(field.count, "allotment")
        yield f"field {digest[:19]}: {count}{extent}, {size_text(field.total_bytes)}"
        yield from draw(field, width=width, height=_GRID_HEIGHT, labels=labels)
        yield from _describe_cells(field, labels, files)
        yield from _describe_parts(field)


def _describe_partition(
    origin: PartitionOrigin, parts: Sequence[ImageContent], files: Mapping[Digest, LayerFiles]
) -> Iterator[str]:
    from twodfs.cli.grid import count_text
    from twodfs.sizes import size_text

    yield f"  a partition: {origin.selection or 'the base alone'}, cut from {origin.named}"
    if origin.allotments is not None:
        count = count_text(origin.allotments, "allotment")
        left = size_text(origin.left_out)
        yield f"  it has {count} of that image, {size_text(origin.size)}; {left} are left out"
    shown: set[tuple[Allotment, ...]] = set()
    for part in parts:
        cells = f"{count_text(len(part.cells), 'cell')}, {size_text(part.cell_bytes)}"
        base = f"a base of {count_text(len(part.base), 'layer')}, {size_text(part.base_bytes)}"
        whole = f"{count_text(part.layers, 'layer')}, {size_text(part.size)}"
        yield f"  {part.platform}: {cells}, on {base}: {whole} to pull"
        if part.cells not in shown:  # platforms share them as a rule
            shown.add(part.cells)
            yield from _list(part.cells, part.labels, files)


def _describe_cells(field: Field, labels: Labels, files: Mapping[Digest, LayerFiles]) -> Iterator[str]:
    if files or labels.cells:
        yield "  cells"
        yield from _list([one for one in field if files or (one.row, one.col) in labels.cells], labels, files)


def _list(cells: Sequence[Allotment], labels: Labels, files: Mapping[Digest, LayerFiles]) -> Iterator[str]:
    """Yield lines for ``cells``: all of them where their files were asked for."""
    from twodfs.cli.listing import list_cells

    most = len(cells) if files else _CELLS_SHOWN
    yield from (f"    {line}" for line in list_cells(cells, labels, files, most=most))


def _describe_parts(field: Field) -> Iterator[str]:
    from twodfs.cli.grid import count_text
    from twodfs.sizes import size_text
    from twodfs.viewing.inspection import named_partitions

    for media_type, count in field.media_types().items():
        yield f"  {count} of {media_type}"
    partitions = list(named_partitions(field))
    width = max((len(one.name) for one in partitions), default=0)
    for one in partitions:
        found = "not counted" if one.allotments is None else count_text(one.allotments, "allotment")
        size = f"{found}, {size_text(one.size)}"
        yield f"  --{one.name.ljust(width)}  {size}  {one.selection}"
