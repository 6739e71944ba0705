"""What a test says about the peers that it needs."""

import os

import pytest

from tests.lab.programs import MissingProgramError, find


def require(*programs: str) -> None:
    """Fail the test where a program is missing: a suite that skips its peers in silence proves nothing.

    Who means to go without one names it in TWODFS_TEST_WITHOUT (comma-separated): then the test is skipped,
    installed or not.
    """
    for name in programs:
        skip_where_done_without(name)
        if find(name) is None:
            pytest.fail(str(MissingProgramError(name)), pytrace=False)


def skip_where_done_without(name: str) -> None:
    """Skip the test where TWODFS_TEST_WITHOUT names this peer."""
    if name in {one.strip() for one in os.environ.get("TWODFS_TEST_WITHOUT", "").split(",")}:
        pytest.skip(f"TWODFS_TEST_WITHOUT names {name}")
