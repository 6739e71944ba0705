"""The directory of an edge node: is it ours to write, on a disk that keeps what locks and promises, with room?"""

from __future__ import annotations

import contextlib
import fcntl
import mmap
import os
import time
from pathlib import Path
from typing import BinaryIO, Final

from proxy.config.edge import EdgeConfig
from proxy.doctor.finding import Finding, ok, problem, warning
from proxy.edge.disk.directory import EdgeDirectory, EdgeError
from proxy.edge.disk.space import least_free

_CHECK: Final = "edge"
_MOUNTS: Final = Path("/proc/self/mountinfo")
_OF_OTHER_MACHINES: Final = frozenset({"nfs", "nfs4", "cifs", "smb3", "ceph", "glusterfs", "afs", "fuse.sshfs"})
_GONE_WITH_THE_MACHINE: Final = {
    "tmpfs": "ends with the machine, and takes its memory",
    "ramfs": "ends with the machine, and takes its memory",
    "overlay": "ends with its container",
}
_LITTLE: Final = 2**30
"""Bytes: hardly more than one model."""
_FEW_FILES: Final = 10_000
_SLOW_SYNC: Final = 0.5
_CLOCK_SLACK: Final = 60.0


def check_edge(config: EdgeConfig) -> list[Finding]:
    """Look at ``config.directory``; nothing where there is none. One file is made in it and removed."""
    if config.directory is None:
        return []
    try:
        EdgeDirectory.look_at(config.directory)
    except EdgeError as error:
        return [problem(_CHECK, str(error), "the proxy does not start like this")]
    root = config.directory.absolute()
    there = next(path for path in (root, *root.parents) if path.exists())
    findings = [file_system(there, _MOUNTS.read_text(encoding="utf-8", errors="replace")), room(config, there)]
    if there == root:
        findings += [locks(root), clock(root, time.time())]
    return findings


def file_system(directory: Path, mounts: str) -> Finding:
    """Look at the kind of file system that ``directory`` is on, by the lines of ``mounts`` (``mountinfo``)."""
    kind = _kind(directory, mounts)
    if kind in _OF_OTHER_MACHINES:
        return problem(
            _CHECK,
            f"{directory} is on {kind}, where locks and shared memory of several processes cannot be relied on",
            "set edge.directory to a place on a disk of this machine",
        )
    if kind in _GONE_WITH_THE_MACHINE:
        return warning(
            _CHECK,
            f"{directory} is on {kind}: what is kept there {_GONE_WITH_THE_MACHINE[kind]}",
            "set edge.directory to a place on a disk or a volume, unless that is meant",
        )
    return ok(_CHECK, f"{directory} is on {kind}, a file system of this machine")


def _kind(directory: Path, mounts: str) -> str:
    """Return the kind of the last mount that is the nearest above ``directory``."""
    kind, depth = "an unknown file system", -1
    place = directory.resolve()
    for line in mounts.splitlines():
        before, _, after = line.partition(" - ")
        mounted = Path(before.split(" ")[4].replace(r"\040", " "))
        if place.is_relative_to(mounted) and len(mounted.parts) >= depth:
            kind, depth = after.split(" ")[0], len(mounted.parts)
    return kind


def room(config: EdgeConfig, directory: Path) -> Finding:
    """Compare the disk that ``directory`` is on with the bounds of ``config``."""
    disk = os.statvfs(directory)
    size, free = disk.f_blocks * disk.f_frsize, disk.f_bavail * disk.f_frsize
    stays = least_free(config, disk)
    has = f"{_mib(free)} of {_mib(size)} are free on the disk of {directory}"
    if config.max_size is not None and config.max_size > size - stays:
        return warning(
            _CHECK,
            f"{has}: edge.max_size ({_mib(config.max_size)}) is more than that, less {_mib(stays)} that stay free",
            "what the disk has is the bound then; set edge.max_size to less, or unset it",
        )
    if free - stays < _LITTLE and not _used(directory):
        return warning(
            _CHECK,
            f"{has}, and {_mib(stays)} of them stay free (edge.min_free): there is hardly room for content",
            "make room, or set edge.directory to a place on a larger disk",
        )
    if disk.f_files and disk.f_favail < _FEW_FILES:
        return warning(
            _CHECK, f"{has}, but no more than {disk.f_favail:,} files", "remove small files, or use another disk"
        )
    return ok(_CHECK, f"{has}, {_mib(stays)} stay so")


def _used(directory: Path) -> bool:
    """Say whether there is content: then a disk with little room is a cache at work."""
    with contextlib.suppress(OSError), os.scandir(EdgeDirectory(directory).contents("sha256")) as found:
        return next(found, None) is not None
    return False


def locks(directory: Path) -> Finding:
    """Try what several processes of a node need of the file system: locks, links, shared memory, promises kept."""
    probe = directory / f".doctor.{os.getpid()}"
    linked = directory / f".doctor.{os.getpid()}.link"
    try:
        with contextlib.ExitStack() as stack:
            stack.callback(probe.unlink, missing_ok=True)
            stack.callback(linked.unlink, missing_ok=True)
            first = stack.enter_context(probe.open("w+b"))
            fcntl.flock(first, fcntl.LOCK_EX | fcntl.LOCK_NB)
            second = stack.enter_context(probe.open("r+b"))
            if _locks(second):
                return problem(
                    _CHECK,
                    f"two processes get the same lock (flock) in {directory}",
                    "set edge.directory to a place on a disk of this machine",
                )
            os.link(probe, linked)
            first.write(b"0" * mmap.PAGESIZE)
            first.flush()
            began = time.monotonic()
            os.fsync(first.fileno())
            took = time.monotonic() - began
            stack.enter_context(mmap.mmap(first.fileno(), mmap.PAGESIZE))
    except OSError as error:
        return problem(
            _CHECK,
            f"{directory} does not take locks, links, shared memory and fsync: {error.strerror}",
            "set edge.directory to a place on a disk of this machine, with a file system of Linux",
        )
    if took > _SLOW_SYNC:
        return warning(
            _CHECK,
            f"a write to {directory} takes {took:.1f} s to be safe (fsync)",
            "pulls wait for it with each blob; a better card or disk helps",
        )
    return ok(_CHECK, f"locks, links and shared memory work in {directory}; a write is safe after {took * 1000:.0f} ms")


def _locks(file: BinaryIO) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def clock(directory: Path, now: float) -> Finding:
    """Compare the clock with the node's own files: a box without a battery begins in the past."""
    newest = max((file.stat().st_mtime for file in directory.glob("state.sqlite*")), default=now)
    if newest - now > _CLOCK_SLACK:
        return warning(
            _CHECK,
            f"this machine's clock is {newest - now:,.0f} s behind the node's own files",
            "run a time service, or set the clock: by it tags and rights age while the registry is away",
        )
    return ok(_CHECK, "the clock is not behind the node's own files")


def _mib(size: int) -> str:
    return f"{size // 2**20:,}MiB"
