"""Today's engines and tools, as Debian's newest release has them, do with partitions what they do with images.

`make compatibility-docs` writes `docs/compatibility.md` from this run.
"""

import os
from collections.abc import Iterator

import pytest

from tests.integration.todays import laboratory, pulls, pushes, signatures, tools
from tests.integration.todays.check import Check
from tests.integration.todays.known import KNOWN
from tests.integration.todays.laboratory import Laboratory
from tests.lab.registry import Registry

CHECKS = [*pulls.CHECKS, *pushes.CHECKS, *tools.CHECKS, *signatures.CHECKS]
UPDATE = "TWODFS_UPDATE_COMPATIBILITY"


def parameters() -> list[object]:
    return [
        pytest.param(
            one,
            id=one.title,
            marks=[pytest.mark.xfail(reason=KNOWN[one.title], strict=True)] if one.title in KNOWN else [],
        )
        for one in CHECKS
    ]


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
    check.body(lab)
    outcomes[check] = True
