"""Directories of daemons: short enough for their sockets, and free of mounts when they are gone."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.lab import command
from tests.lab.programs import environment, program


@contextmanager
def runtime_directory() -> Iterator[Path]:
    """Yield a short directory: a unix socket's path has at most 107 characters, pytest's may be longer."""
    with tempfile.TemporaryDirectory(prefix="lab-", dir="/tmp") as name:
        directory = Path(name)
        try:
            yield directory
        finally:
            unmount_below(directory)


def holds_overlays(directory: Path) -> bool:
    """Whether overlays can be laid over this directory: not where it is one itself, as inside a container."""
    kind = command.run((program("stat"), "--file-system", "--format", "%T", str(directory)), environment())
    return kind.strip() != "overlayfs"


def unmount_below(directory: Path) -> None:
    """Unmount everything at and below the directory, the innermost first."""
    for place in reversed(mounts_below(directory)):
        command.run((program("umount"), "--lazy", place), environment())


def mounts_below(directory: Path) -> list[str]:
    places = (line.split(" ")[1] for line in Path("/proc/self/mounts").read_text().splitlines())
    return [place for place in places if place == str(directory) or place.startswith(f"{directory}/")]
