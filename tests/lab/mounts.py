"""Directories of daemons: short enough for their sockets, and free of mounts when they are gone."""

import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.lab import command
from tests.lab.programs import environment, program

_PATIENCE = 10.0


@contextmanager
def runtime_directory() -> Iterator[Path]:
    """Yield a short directory: a unix socket's path has at most 107 characters, pytest's may be longer."""
    directory = Path(tempfile.mkdtemp(prefix="lab-", dir="/tmp"))
    try:
        yield directory
    finally:
        _remove(directory)


def _remove(directory: Path) -> None:
    """Remove the directory; what a daemon left behind may still be on its way out, so try for a while."""
    deadline = time.monotonic() + _PATIENCE
    while True:
        unmount_below(directory)
        try:
            shutil.rmtree(directory)
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.1)
        else:
            return


def holds_overlays(directory: Path) -> bool:
    """Whether overlays can be laid over this directory: not where it is one itself, as inside a container."""
    kind = command.run((program("stat"), "--file-system", "--format", "%T", str(directory)), environment())
    return kind.strip() != "overlayfs"


def unmount_below(directory: Path) -> None:
    """Unmount everything at and below the directory, the innermost first."""
    for place in reversed(mounts_below(directory)):
        try:
            command.run((program("umount"), "--lazy", place), environment())
        except command.CommandError:
            if place in mounts_below(directory):  # else its owner was faster
                raise


def mounts_below(directory: Path) -> list[str]:
    places = (line.split(" ")[1] for line in Path("/proc/self/mounts").read_text().splitlines())
    return [place for place in places if place == str(directory) or place.startswith(f"{directory}/")]
