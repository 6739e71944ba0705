"""Today's engines and tools, as Debian's newest release has them, take partitions for the images they are.

`make compatibility-docs` writes `docs/compatibility.md` from this run.
"""

import os
import re
from collections.abc import Iterator

import pytest

from tests.integration.todays import laboratory, page, pulls, pushes, signatures, tools
from tests.integration.todays.check import Check
from tests.integration.todays.known import KNOWN
from tests.integration.todays.laboratory import Laboratory
from tests.lab.command import CommandError
from tests.lab.registry import Registry

CHECKS = page.ordered([*pulls.CHECKS, *pushes.CHECKS, *tools.CHECKS, *signatures.CHECKS])
UPDATE = "TWODFS_UPDATE_COMPATIBILITY"


class KnownToFail(Exception):  # noqa: N818 - what happened
    """A check failed as `known` says."""


def parameters() -> list[object]:
    known = pytest.mark.xfail(raises=KnownToFail, strict=True)
    return [pytest.param(one, id=one.title, marks=[known] if one.title in KNOWN else []) for one in CHECKS]


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory, registry: Registry) -> Iterator[Laboratory]:
    with laboratory.opened(tmp_path_factory.mktemp("todays"), registry) as opened:
        yield opened


@pytest.fixture(scope="module")
def outcomes() -> dict[Check, bool]:
    """What has been tried in this run, and whether it went well."""
    return {}


@pytest.mark.parametrize("check", parameters())
def test_todays(check: Check, lab: Laboratory, outcomes: dict[Check, bool]) -> None:
    outcomes[check] = False
    try:
        check.body(lab)
    except (CommandError, AssertionError) as error:
        known = KNOWN.get(check.title)
        if known is None or re.search(known.says, str(error)) is None:
            raise
        raise KnownToFail(known.reason) from error
    outcomes[check] = True


def test_the_page_says_what_this_run_saw(lab: Laboratory, outcomes: dict[Check, bool]) -> None:
    unexpected = [one.title for one, went_well in outcomes.items() if went_well == (one.title in KNOWN)]
    assert unexpected == []
    if os.environ.get(UPDATE):
        assert list(outcomes) == CHECKS, "the page is written from a run of all"
        page.write(CHECKS, lab.root)
    said = page.said()
    assert {one.title: said.get(one.title) for one in outcomes} == {one.title: page.result(one) for one in outcomes}


def test_the_page_has_every_check_and_a_reason_for_whatever_fails() -> None:
    said = page.said()
    assert list(said) == [one.title for one in CHECKS]
    assert page.reasons_said() == page.reasons()
    assert {title for title, result in said.items() if result != page.WORKS} == set(KNOWN)
