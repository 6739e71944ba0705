"""Today's tools: Debian's newest, in a root file system of their own.

Tools that are one file (Go's are) need not be run inside it: they find this machine's files under their own
names.
"""

import os
from pathlib import Path

import pytest

ROOT = "todays-engines"
"""What TWODFS_TEST_WITHOUT calls them."""


def roots() -> list[Path]:
    """Return where such a root may be: `TWODFS_LAB_ROOT`, or what the lab has made in its cache."""
    named = os.environ.get("TWODFS_LAB_ROOT")
    cache = Path(os.environ.get("TWODFS_LAB_CACHE", "/var/cache/twodfs-lab"))
    return [Path(named)] if named else [one for one in cache.glob("sid-*") if one.suffix != ".making"]


def todays_program(name: str) -> str:
    """Return the path of one of today's tools; fails the test where it is missing, as `require` does."""
    without = {one.strip() for one in os.environ.get("TWODFS_TEST_WITHOUT", "").split(",")}
    if without & {ROOT, name}:
        pytest.skip(f"TWODFS_TEST_WITHOUT names {ROOT} or {name}")
    found = [root / "usr/bin" / name for root in roots()]
    for file in found:
        if file.exists():
            return str(file)
    pytest.fail(f"there is no root of today's engines with {name}: see tests/lab", pytrace=False)
