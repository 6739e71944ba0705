"""The meaning of a selection in each image of a source, and the allotments that it selects there."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from twodfs.errors import NothingSelectedError, TooManyLayersError
from twodfs.field.allotment import Allotment
from twodfs.field.field import Field
from twodfs.field.partition import Selection
from twodfs.flatten.needs import TURN, Steps, in_turns
from twodfs.flatten.rewrite import ImageWithField
from twodfs.oci.digest import Digest


@dataclass(frozen=True, slots=True)
class SelectionLimits:
    """The conditions of a selection: the image's name in errors, its layers, and whether equal cells merge."""

    image: str
    max_layers: int
    merged: bool


def resolve(
    fielded: Mapping[Digest, ImageWithField], by_field: Mapping[Digest, Field], selection: Selection
) -> Steps[dict[Digest, Selection]]:
    """Return the meaning of ``selection`` for each image whose field defines its names."""
    meanings: dict[Digest, Selection | None] = {}
    for digest, its in by_field.items():
        meanings[digest] = yield from in_turns(its.resolve_in_steps(selection))
        yield TURN
    by_image = ((by, meanings[one.field.digest]) for by, one in fielded.items())
    return {by: meaning for by, meaning in by_image if meaning is not None}


def select(
    fielded: Mapping[Digest, ImageWithField],
    by_field: Mapping[Digest, Field],
    resolved: Mapping[Digest, Selection],
    asked: Selection,
    limits: SelectionLimits,
) -> Steps[dict[Digest, list[Allotment]]]:
    """Return the selected allotments of each image in which something is selected."""
    chosen: dict[Digest, list[Allotment]] = {}
    # Platforms share a field as a rule, and so the selected allotments.
    found: dict[tuple[Digest, int], list[Allotment] | NothingSelectedError] = {}
    nothing: NothingSelectedError | None = None
    for by, selection in resolved.items():
        field = fielded[by].field.digest
        base_layers = len(fielded[by].manifest.layers) - 1
        limit = max(0, limits.max_layers - base_layers)
        if (field, limit) not in found:
            try:
                found[field, limit] = yield from in_turns(
                    by_field[field].select_in_steps(selection, limit=limit, image=limits.image, merged=limits.merged)
                )
            except TooManyLayersError:
                raise _too_many_layers(asked, limits.image, base_layers, limits.max_layers) from None
            except NothingSelectedError as error:
                found[field, limit] = error
        what = found[field, limit]
        if isinstance(what, NothingSelectedError):
            nothing = what
        else:
            chosen[by] = what
    if nothing and not chosen:
        raise nothing
    return chosen


def _too_many_layers(asked: Selection, image: str, base_layers: int, max_layers: int) -> TooManyLayersError:
    if base_layers < max_layers:
        made_of = f"{base_layers} of the base and more than {max_layers - base_layers} allotments"
        advice = "container runtimes cannot unpack that many, select fewer"
    else:
        made_of = f"the base alone has {base_layers}"
        advice = "container runtimes cannot unpack that many, and no allotment fits on top"
    return TooManyLayersError(f"partition {asked} of {image} needs more than {max_layers} layers: {made_of}; {advice}")
