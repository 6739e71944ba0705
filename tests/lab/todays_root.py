"""Debian's newest engines and tools, in a root file system beside this machine's own.

`install-todays-engines.sh` makes that root once per machine. A test run never writes to it: each has mount
and process namespaces of its own, in which the root is read-only, `/lab` is a directory of the test, and what
else programs write to is in memory. When the first process of the namespaces ends, and it does with the test
run however that ends, the kernel ends all others and undoes all mounts.
"""

import signal
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Self

import pytest

from tests.lab import command
from tests.lab.peers import skip_where_done_without
from tests.lab.process import Launch, Server
from tests.lab.programs import environment, program

NAME = "todays-engines"
LAB = "/lab"
"""The test's directory, as programs in the root see it."""

_INSTALL = Path(__file__).with_name("install-todays-engines.sh")
_WRITABLE = ("run", "tmp", "root", "var/tmp", "var/log")
# The root is the namespace's own: Apptainer refuses a chroot, and engines look for the mount point of `/`.
_FIRST_PROCESS = """
root=$1 lab=$2; shift 2
mount --make-rprivate /
mount --bind "$root" "$root"
mount --bind "$lab" "$root/lab"
for place; do mount -t tmpfs -o mode=1777 tmpfs "$root/$place"; done
mount -t proc proc "$root/proc"
mount --rbind /sys "$root/sys"
mount --rbind /dev "$root/dev"
mount -o remount,bind,ro "$root"
cd "$root"
pivot_root . . # the new one lies upon the old
umount -l .
touch /lab/.ready
sleep infinity & wait
"""


class TodaysRoot:
    """`with TodaysRoot.enter(directory) as root: root.run("crane", "version")`."""

    def __init__(self, directory: Path, place: Path) -> None:
        self.directory = directory
        self._stack = ExitStack()
        self._environment = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "HOME": "/root", "LC_ALL": "C.UTF-8"}
        self._holder = Server(
            Launch(
                argv=(
                    *(program("unshare"), "--mount", "--pid", "--fork", "--kill-child", "--"),
                    *("/bin/sh", "-euc", _FIRST_PROCESS, "lab", str(place), str(directory), *_WRITABLE),
                ),
                log=directory / "namespaces.log",
                ready=(directory / ".ready").exists,
                environment=environment(),
                directory=directory,
                orphaned=signal.SIGKILL,  # unshare waits for its child before it heeds another
            )
        )

    @classmethod
    def enter(cls, directory: Path) -> Self:
        """Make namespaces around the root; the directory is `/lab` in it."""
        root = cls(directory, place())
        root._holder.launch()
        return root

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End everything that runs in the root."""
        self._stack.close()
        self._holder.kill()  # and the kernel all others

    def seen(self, path: str) -> Path:
        """Return where we find what programs in the root call `path`, what they mounted there included."""
        return Path(f"/proc/{self._holder.pid}/root{path}")

    def argv(self, *argv: str) -> tuple[str, ...]:
        """Return the command that runs this one in the root."""
        of = f"/proc/{self._holder.pid}/ns"
        return (program("nsenter"), f"--mount={of}/mnt", f"--pid={of}/pid_for_children", "--", *argv)

    def run(self, *argv: str, **variables: str) -> str:
        """Return what a program wrote to its standard output; raises CommandError."""
        return command.run(self.argv(*argv), {**self._environment, **variables})

    def daemon(self, *argv: str, log: str, ready: Callable[[], bool]) -> None:
        """Start a daemon, and wait until it is ready; it ends with the root. Raises StartError."""
        launch = Launch(
            argv=self.argv(*argv),
            log=self.directory / log,
            ready=ready,
            environment=self._environment,
            directory=self.directory,
        )
        server = Server(launch)
        self._stack.callback(server.kill)  # what it holds is ours, and goes anyway
        server.launch()


def place() -> Path:
    """Return where the root is; skips the test that is to do without it, fails it where nothing made it."""
    skip_where_done_without(NAME)
    found = Path(command.run((str(_INSTALL), "--where"), environment()).strip())
    if not found.is_dir():
        missing = f"today's engines are not installed: run tests/lab/{_INSTALL.name} as root"
        pytest.fail(missing, pytrace=False)
    return found
