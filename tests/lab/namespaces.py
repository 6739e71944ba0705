"""A root file system beside this machine's own, in mount and process namespaces that end with the test run.

When the first process of the namespaces ends, and it does with the test run however that ends, the kernel
ends all others and undoes all mounts.
"""

import os
import signal
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.lab import command
from tests.lab.process import Launch, Server
from tests.lab.programs import environment, program

LAB = "/lab"
"""The test's directory, as programs in the root see it."""

_PROXIES = ("http_proxy", "https_proxy", "no_proxy")
# The root is the namespace's own: Apptainer refuses a chroot, and engines look for the mount point of `/`.
_FIRST_PROCESS = """
lab=$1; shift
mount --make-rprivate /
{make}
mount --bind "$lab" "$root/lab"
{more}
mount -t proc proc "$root/proc"
mount --rbind /sys "$root/sys"
mount --rbind /dev "$root/dev"
{last}
cd "$root"
pivot_root . . # the new one lies upon the old
umount -l .
touch /lab/.ready
sleep infinity & wait
"""


def first_process(*, make: str, more: str = "", last: str = "") -> str:
    """Return the shell script of a root's first process.

    `make` sets `$root` to a mount that has a directory `lab`, by the arguments from `$1` on; `more` is for
    mounts below it, `last` for what has to come after all mounts.
    """
    return _FIRST_PROCESS.format(make=make, more=more, last=last)


class Namespaces:
    """A root that programs run in; a context manager."""

    def __init__(
        self, directory: Path, script: str, *arguments: str, lab: str = LAB, within: Sequence[str] = ()
    ) -> None:
        """Prepare the namespaces.

        Args:
            directory: the test's.
            script: from `first_process`.
            arguments: the script's.
            lab: the directory, as programs in the root see it.
            within: the command that runs another elsewhere, such as in a network namespace.
        """
        self.directory = directory
        self.lab = lab
        self._stack = ExitStack()
        self._environment = {
            **{name: os.environ[name] for name in _PROXIES if name in os.environ},
            "PATH": "/usr/sbin:/usr/bin:/sbin:/bin",
            "HOME": "/root",
            "LC_ALL": "C.UTF-8",
        }
        self._holder = Server(
            Launch(
                argv=(
                    *within,
                    *(program("unshare"), "--mount", "--pid", "--fork", "--kill-child", "--"),
                    *("/bin/sh", "-euc", script, "lab", str(directory), *arguments),
                ),
                log=directory / "namespaces.log",
                ready=(directory / ".ready").exists,
                environment=environment(),
                directory=directory,
                orphaned=signal.SIGKILL,  # unshare waits for its child before it heeds another
            )
        )

    def launch(self) -> None:
        """Make the namespaces; raises StartError."""
        (self.directory / ".ready").unlink(missing_ok=True)  # of namespaces that the directory had before
        self._holder.launch()

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
        entered = (f"--net={of}/net", f"--mount={of}/mnt", f"--pid={of}/pid_for_children")
        return (program("nsenter"), *entered, "--", *argv)

    def run(self, *argv: str, **variables: str) -> str:
        """Return what a program wrote to its standard output; raises CommandError."""
        return command.run(self.argv(*argv), {**self._environment, **variables})

    def daemon(self, *argv: str, log: str, ready: Callable[[], bool]) -> Server:
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
        return server
