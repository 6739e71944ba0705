"""Which allotments the image of each platform has: images with the same ones have one field."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Self

from twodfs.errors import FormatError
from twodfs.layers.build_file.cells import Cell
from twodfs.layers.members import Member, PathClaims
from twodfs.oci.platforms import Platform


@dataclass(frozen=True, slots=True)
class FieldGroups:
    """The fields of an image.

    Attributes:
        groups: for each field, the places of its cells in the build file.
        of_image: for each image, the place of its field among them.
    """

    groups: tuple[tuple[int, ...], ...]
    of_image: tuple[int, ...]


def plan_fields(cells: Sequence[Cell], platforms: Sequence[Platform], *, is_choice: bool = False) -> FieldGroups:
    """Return which of ``cells`` the images of ``platforms`` have, an image for each.

    ``is_choice`` says that these are a choice among more, so that cells for others are left out.

    Raises:
        FormatError: an image has no cell, or no image has a cell; with the path.
    """
    if not any(cell.platforms for cell in cells):
        return FieldGroups((tuple(range(len(cells))),), (0,) * len(platforms))
    groups: dict[tuple[int, ...], int] = {}
    of_image = []
    for platform in platforms:
        group = tuple(at for at, cell in enumerate(cells) if cell.is_for(platform))
        if not group:
            raise FormatError(f"no allotment is for {platform}, and the base has an image for it", "allotments")
        of_image.append(groups.setdefault(group, len(groups)))
    built = {at for group in groups for at in group}
    for at, cell in enumerate(cells):
        if at not in built and not is_choice:
            wanted, there = (" and ".join(map(str, those)) for those in (cell.platforms, platforms))
            raise FormatError(f"the base has no image for {wanted}; it has one for {there}", f"{cell.path}.platform")
    return FieldGroups(tuple(groups), tuple(of_image))


@dataclass(frozen=True, slots=True)
class FieldClaims:
    """Which cell of each field brings which name, before it is known what images the base has. For any thread.

    Attributes:
        cells: the places in the build file of those that are built, in order.
    """

    cells: tuple[int, ...]
    _fields: tuple[tuple[frozenset[int], PathClaims], ...]

    @classmethod
    def of(
        cls,
        cells: Sequence[Cell],
        platforms: Sequence[Platform] = (),
        directories: Mapping[str, str] | None = None,
    ) -> Self:
        """Begin with nothing taken but the ``directories`` of every base.

        Args:
            cells: those of the build file.
            platforms: those that are asked for, so that cells for others are not built; empty for all.
            directories: as for ``PathClaims``.
        """
        built = tuple(at for at, cell in enumerate(cells) if not platforms or any(map(cell.may_be_for, platforms)))
        named = dict.fromkeys(one for at in built for one in cells[at].platforms)
        # The cells of an image are among those of the most exact platform that one of them names.
        groups = dict.fromkeys(frozenset(at for at in built if cells[at].is_for(one)) for one in named)
        return cls(built, tuple((one, PathClaims(directories)) for one in groups or (frozenset(built),)))

    def claim(self, at: int, members: Sequence[Member]) -> None:
        """Give ``members`` to the cell ``at``; raises as ``PathClaims.claim`` does."""
        for group, claims in self._fields:
            if at in group:
                claims.claim(members)

    def keep_directories(self, directories: Mapping[str, str]) -> None:
        """Let nothing else take the names of a base's ``directories``; raises as ``PathClaims`` does."""
        for _, claims in self._fields:
            claims.keep_directories(directories)
