"""Today's tools that are one file, as Go's are: they run outside their root as well, and find our files."""

from tests.lab.todays_root import place


def todays_program(name: str) -> str:
    """Return the path of one of today's tools; skips or fails the test as ``place`` does."""
    return str(place() / "usr/bin" / name)
