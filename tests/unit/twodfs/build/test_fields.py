import tarfile
from pathlib import Path

import pytest

from twodfs.build.fields import FieldClaims, FieldGroups, plan_fields
from twodfs.errors import FormatError
from twodfs.layers.build_file.cells import Cell, Copy
from twodfs.layers.members import Member
from twodfs.oci.platforms import Platform

AMD, ARM, ARM6, ARM64 = map(Platform.parse, ("linux/amd64", "linux/arm", "linux/arm/v6", "linux/arm64"))


def cells(*platforms: tuple[Platform, ...]) -> list[Cell]:
    return [Cell(0, at, (Copy(Path("a"), "a", f"allotments[{at}].src"),), one) for at, one in enumerate(platforms)]


def test_images_with_the_same_cells_have_one_field() -> None:
    assert plan_fields(cells((), ()), (AMD, ARM64)) == FieldGroups(((0, 1),), (0, 0))
    assert plan_fields(cells((), (AMD,), (ARM64, ARM)), (ARM64, AMD, ARM)) == FieldGroups(((0, 2), (0, 1)), (0, 1, 0))
    assert plan_fields(cells((AMD, ARM64), ()), (AMD, ARM64)) == FieldGroups(((0, 1),), (0, 0))


def test_a_variant_is_one_of_those_without_any() -> None:
    assert plan_fields(cells((), (ARM,), (ARM6,)), (ARM6, ARM64)).groups == ((0, 1, 2), (0,))


def test_a_platform_that_the_base_lacks_is_a_mistake_unless_it_was_not_chosen() -> None:
    with pytest.raises(FormatError) as failed:
        plan_fields(cells((), (ARM64, ARM)), (AMD,))
    assert str(failed.value) == (
        "the base has no image for linux/arm64 and linux/arm; it has one for linux/amd64 in 'allotments[1].platform'"
    )
    assert plan_fields(cells((), (ARM64,)), (AMD,), is_choice=True) == FieldGroups(((0,),), (0,))


def test_an_image_without_any_cell_is_a_mistake() -> None:
    with pytest.raises(FormatError) as failed:
        plan_fields(cells((ARM64,)), (ARM64, AMD))
    assert str(failed.value) == "no allotment is for linux/amd64, and the base has an image for it in 'allotments'"


def claimed(all_cells: list[Cell], *claims: tuple[int, str], platforms: tuple[Platform, ...] = ()) -> str:
    """Return why cells (by their places) cannot bring these names; empty where they can."""
    held = FieldClaims.of(all_cells, platforms)
    try:
        for at, name in claims:
            held.claim(at, (Member(name, tarfile.REGTYPE, path=f"allotments[{at}]"),))
    except FormatError as error:
        return str(error)
    return ""


def test_cells_that_no_image_has_together_may_bring_one_name() -> None:
    twice = "'/x' comes twice: first in 'allotments[0]', then in 'allotments[1]'"
    assert claimed(cells((), ()), (0, "x"), (1, "x")) == twice
    assert claimed(cells((AMD,), (ARM64,)), (0, "x"), (1, "x")) == ""
    assert claimed(cells((AMD,), ()), (0, "x"), (1, "x")) == twice
    assert claimed(cells((ARM,), (ARM6, AMD)), (0, "x"), (1, "x")) == twice
    assert claimed(cells((ARM64, AMD), (ARM, AMD)), (0, "x"), (1, "x")) == twice


def test_only_cells_for_what_is_asked_for_are_built() -> None:
    some = cells((), (AMD,), (ARM64,), (ARM6,))
    assert FieldClaims.of(some).cells == (0, 1, 2, 3)
    assert FieldClaims.of(some, (ARM64,)).cells == (0, 2)
    assert FieldClaims.of(some, (ARM,)).cells == (0, 3)


def test_directories_of_the_base_are_kept_from_every_cell() -> None:
    held = FieldClaims.of(cells((AMD,), (ARM64,)))
    held.claim(1, (Member("srv", tarfile.REGTYPE, path="allotments[1]"),))
    with pytest.raises(FormatError, match="'/srv' is the base's WORKDIR, and a file would take its place"):
        held.keep_directories({"srv": "the base's WORKDIR"})
