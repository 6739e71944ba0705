"""This machine: file descriptors, memory and disk."""

from __future__ import annotations

import resource
import shutil
import tempfile
from pathlib import Path
from typing import Final

from proxy.config import Config
from proxy.doctor.finding import Finding, ok, skipped, warning

_MEMORY_LIMITS: Final = (
    Path("/sys/fs/cgroup/memory.max"),
    Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"),
)
_NO_LIMIT: Final = 2**60
"""From here on a limit is none; cgroup v1 writes a huge number for it."""
_BESIDE_THE_CACHE: Final = 128 * 2**20
"""Bytes for the interpreter, the connections and fields while they are parsed; of each worker."""
_FILES_A_TRANSFER: Final = 2
# And these where the interpreter does not see the bytes: a duplicate of each socket, and to splice a pipe.
_FILES_TO_DECRYPT: Final = 2
_FILES_TO_SPLICE: Final = 4
_MOST_SPLICES: Final = 1024
_FILES_FOR_A_SPLICE: Final = 16
"""Descriptors that have to be allowed for each transfer that is spliced; the others are buffered."""
_FILES_BESIDE: Final = 128
_LITTLE_DISK: Final = 64 * 2**20


def check_host(config: Config) -> list[Finding]:
    """Compare the limits of this machine with the needs of ``config``."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    return [
        files(config, _NO_LIMIT if hard == resource.RLIM_INFINITY else hard),
        memory(config, _memory_limit()),
        disk(),
    ]


def files(config: Config, limit: int) -> Finding:
    """Compare the most file descriptors that a process may open with the transfers that ``config`` allows."""
    needed = _needed_files(config, limit)
    each = f"each of {config.workers} workers" if config.workers > 1 else "the proxy"
    if limit < needed:
        while (more := _needed_files(config, needed)) > needed:  # with a higher limit, more are spliced
            needed = more
        return warning(
            "files",
            f"{each} may open {limit} file descriptors; the transfers that upstream.max_connections "
            f"({config.upstream.max_connections}) allows take {needed}",
            f"raise the hard limit to {needed} or more (ulimit -Hn, systemd's LimitNOFILE), or lower "
            "upstream.max_connections",
        )
    allowed = "any number of" if limit >= _NO_LIMIT else str(limit)
    return ok("files", f"{each} may open {allowed} file descriptors, and need {needed}")


def _needed_files(config: Config, limit: int) -> int:
    transfers = config.upstream.max_connections * len(config.upstream.urls)
    beside = config.cache.redis_max_connections + _FILES_BESIDE
    return _FILES_A_TRANSFER * transfers + _files_past_the_loop(config, transfers, limit) + beside


def _files_past_the_loop(config: Config, transfers: int, limit: int) -> int:
    if config.blobs.relay == "buffered" or config.tls.certificate is not None:
        return 0
    if any(url.startswith("https:") for url in config.upstream.urls):
        return _FILES_TO_DECRYPT * transfers
    return _FILES_TO_SPLICE * min(transfers, splices_within(limit))


def splices_within(limit: int) -> int:
    """Return how many transfers are spliced at a time by a process that may open ``limit`` files."""
    return min(_MOST_SPLICES, limit // _FILES_FOR_A_SPLICE)


def memory(config: Config, limit: int) -> Finding:
    """Compare the memory limit of this container with the size of the caches of all workers."""
    needed = config.workers * (config.cache.memory + _BESIDE_THE_CACHE)
    each = f" of {config.workers} workers" if config.workers > 1 else ""
    if limit < needed:
        fitting = max(2**20, limit // config.workers - _BESIDE_THE_CACHE)
        return warning(
            "memory",
            f"this container may use {_mib(limit)}; cache.memory and the rest{each} take up to {_mib(needed)}",
            f"allow {_mib(needed)}, or set cache.memory to {_mib(fitting)}{' or have fewer' if each else ''}",
        )
    allowed = "no limit of memory is set" if limit >= _NO_LIMIT else f"{_mib(limit)} of memory are allowed"
    return ok("memory", f"{allowed}, up to {_mib(needed)} may be needed{each and ' by all' + each}")


def disk(directory: Path | None = None) -> Finding:
    """Look for room where temporary files go; the proxy itself keeps nothing there.

    ``directory`` None: the system's.
    """
    if directory is None:
        try:
            directory = Path(tempfile.gettempdir())
        except FileNotFoundError:
            return skipped("disk", "temporary files have no place here; on Linux the proxy makes none")
    try:
        free = shutil.disk_usage(directory).free
    except OSError as error:
        return warning("disk", f"{directory} cannot be looked at: {error.strerror}", "mount it, or set TMPDIR")
    if free < _LITTLE_DISK:
        return warning(
            "disk",
            f"{_mib(free)} are free in {directory}; the proxy keeps nothing there, its neighbours may",
            "make room before logs and neighbours need it",
        )
    return ok("disk", f"{_mib(free)} are free in {directory}; the proxy keeps nothing there")


def _memory_limit() -> int:
    for file in _MEMORY_LIMITS:
        try:
            text = file.read_text(encoding="ascii").strip()
        except OSError:
            continue
        return int(text) if text.isdecimal() else _NO_LIMIT
    return _NO_LIMIT


def _mib(size: int) -> str:
    return f"{size // 2**20:,}MiB"
