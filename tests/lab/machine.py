"""This machine's own programs, in mount and process namespaces that end with the test run.

`/run` and `/dev/shm` are empty there; all else is the machine's.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Self

from tests.lab.namespaces import Namespaces

_FIRST_PROCESS = """
mount --make-rprivate /
mount -t tmpfs -o mode=755 tmpfs /run
mount -t tmpfs -o mode=1777 tmpfs /dev/shm # podman has its locks there, one file for all of its stores
mount -t proc proc /proc
touch "$1/.ready"
sleep infinity & wait
"""


class Machine(Namespaces):
    """`with Machine.enter(directory) as machine: machine.run("podman", "version")`."""

    @classmethod
    def enter(cls, directory: Path, *, within: Sequence[str] = ()) -> Self:
        """Make the namespaces; `within` is the command that runs another elsewhere, such as in a network namespace."""
        machine = cls(directory, _FIRST_PROCESS, lab=str(directory), within=within)
        machine.launch()
        return machine
