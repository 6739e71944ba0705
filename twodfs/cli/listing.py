"""Cells listed as text: place, size, label, and the files where they are known. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from twodfs.cli.grid import MORE
from twodfs.field.allotment import Allotment
from twodfs.field.labels import Labels
from twodfs.oci.digest import Digest
from twodfs.sizes import size_text
from twodfs.viewing.files import LayerFile, LayerFiles

FILES_SHOWN: Final = 20
"""Files of a cell; all of them are in the JSON."""


def list_cells(
    cells: Sequence[Allotment], labels: Labels, files: Mapping[Digest, LayerFiles], *, most: int
) -> Iterator[str]:
    """Yield a line for each of the first ``most`` cells, and one for each further file of those that have several."""
    shown = cells[:most]
    places = [f"{one.row}/{one.col}" for one in shown]
    sizes = [size_text(one.size) for one in shown]
    names = [labels.cells.get((one.row, one.col), "") for one in shown]
    widths = [max(map(len, texts), default=0) for texts in (places, sizes, names)]
    for one, place, size, name in zip(shown, places, sizes, names, strict=True):
        known = files.get(one.digest)
        first = _single(known)
        line = f"{place.ljust(widths[0])}  {size.rjust(widths[1])}  {name.ljust(widths[2])}  {first}"
        yield line.rstrip()
        if known and not first:
            yield from (f"  {text}" for text in _listed(known))
    if len(cells) > most:
        yield f"{MORE} {len(cells) - most} more; --json lists them"


def _single(known: LayerFiles | None) -> str:
    """Return the file of a cell that has one; empty where there are several, or none is known."""
    if known is None or known.missing or len(known.files) != 1:
        return ""
    return _shown(known.files[0])


def _listed(known: LayerFiles) -> Iterator[str]:
    shown = known.files[:FILES_SHOWN]
    sizes = [size_text(one.size) for one in shown]
    width = max(map(len, sizes), default=0)
    yield from (f"{size.rjust(width)}  {_shown(one)}" for one, size in zip(shown, sizes, strict=True))
    if len(known.files) > FILES_SHOWN:
        yield f"{MORE} {len(known.files) - FILES_SHOWN} more files; --json lists them"
    if known.missing:
        yield f"{MORE} {known.missing}"


def _shown(one: LayerFile) -> str:
    return f"{one.path} -> {one.target}" if one.target else one.path
