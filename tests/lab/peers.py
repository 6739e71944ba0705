"""What a test says about the peers that it needs."""

import os

import pytest

from tests.lab.programs import MissingProgramError, find


def require(*programs: str) -> None:
    """Fail the test where a program is missing: a suite that skips its peers in silence proves nothing.

    Who means to go without one names it in TWODFS_TEST_WITHOUT (comma-separated): then the test is skipped,
    installed or not.
    """
    without = {name.strip() for name in os.environ.get("TWODFS_TEST_WITHOUT", "").split(",")}
    for name in programs:
        if name in without:
            pytest.skip(f"TWODFS_TEST_WITHOUT names {name}")
        if find(name) is None:
            pytest.fail(str(MissingProgramError(name)), pytrace=False)
