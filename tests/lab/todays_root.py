"""Debian's newest engines and tools, in a root file system beside this machine's own.

`install-todays-engines.sh` makes that root once per machine. A test run never writes to it: in the namespaces
of each, the root is read-only, `/lab` is a directory of the test, and what else is written to is in memory.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Self

from tests.lab.namespaces import LAB, Namespaces, first_process
from tests.lab.roots import root_made_by

__all__ = ["LAB", "TodaysRoot", "place"]

NAME = "todays-engines"

_WRITABLE = ("run", "tmp", "root", "var/tmp", "var/log")
_FIRST_PROCESS = first_process(
    make='root=$1; shift; mount --bind "$root" "$root"',
    more="""
for place; do
    case $place in
    /*) mount --bind "$place" "$root$place" ;;
    *) mount -t tmpfs -o mode=1777 tmpfs "$root/$place" ;;
    esac
done
""",
    last='mount -o remount,bind,ro "$root"',
)


class TodaysRoot(Namespaces):
    """`with TodaysRoot.enter(directory) as root: root.run("crane", "version")`."""

    @classmethod
    def enter(cls, directory: Path, *, files: Sequence[str] = (), within: Sequence[str] = ()) -> Self:
        """Make namespaces around the root.

        Args:
            directory: `/lab` in it.
            files: what the root has of the machine around it in place of its own; absolute paths.
            within: the command that runs another elsewhere, such as in a network namespace.
        """
        root = cls(directory, _FIRST_PROCESS, str(place()), *_WRITABLE, *files, within=within)
        root.launch()
        return root


def place() -> Path:
    """Return where the root is; skips the test that is to do without it, fails it where nothing made it."""
    return root_made_by("install-todays-engines.sh", NAME, "today's engines are")
