"""This machine: file descriptors, memory and disk."""

from __future__ import annotations

import resource
import shutil
import tempfile
from pathlib import Path
from typing import Final

from proxy.config import Config
from proxy.doctor.finding import Finding, ok, warning

_MEMORY_LIMITS: Final = (
    Path("/sys/fs/cgroup/memory.max"),
    Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"),
)
_NO_LIMIT: Final = 2**60
"""From here on a limit is none; cgroup v1 writes a huge number for it."""
_BESIDE_THE_CACHE: Final = 128 * 2**20
"""Bytes for the interpreter, the connections and fields while they are parsed."""
_FILES_A_TRANSFER: Final = 2
_FILES_BESIDE: Final = 128
_LITTLE_DISK: Final = 64 * 2**20


def check_host(config: Config) -> list[Finding]:
    """Return what this machine allows, beside what ``config`` may take."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    return [
        files(config, _NO_LIMIT if hard == resource.RLIM_INFINITY else hard),
        memory(config, _memory_limit()),
        disk(Path(tempfile.gettempdir())),
    ]


def files(config: Config, limit: int) -> Finding:
    """Compare the most file descriptors that may be open with the transfers that ``config`` allows."""
    needed = (
        _FILES_A_TRANSFER * config.upstream.max_connections
        + config.cache.redis_max_connections
        + _FILES_BESIDE
    )
    if limit < needed:
        return warning(
            "files",
            f"{limit} file descriptors are allowed; {config.upstream.max_connections} transfers at a time "
            f"(upstream.max_connections) take {needed}",
            f"raise the hard limit to {needed} or more (ulimit -Hn, systemd's LimitNOFILE), or lower "
            "upstream.max_connections",
        )
    allowed = "any number of" if limit >= _NO_LIMIT else str(limit)
    return ok("files", f"{allowed} file descriptors are allowed, {needed} may be needed")


def memory(config: Config, limit: int) -> Finding:
    """Compare the memory limit of this container with what the cache may take."""
    needed = config.cache.memory + _BESIDE_THE_CACHE
    if limit < needed:
        return warning(
            "memory",
            f"this container may use {_mib(limit)}; cache.memory and the rest take up to {_mib(needed)}",
            f"allow {_mib(needed)}, or set cache.memory to {_mib(max(2**20, limit - _BESIDE_THE_CACHE))}",
        )
    allowed = "no limit of memory is set" if limit >= _NO_LIMIT else f"{_mib(limit)} of memory are allowed"
    return ok("memory", f"{allowed}, up to {_mib(needed)} may be needed")


def disk(directory: Path) -> Finding:
    """Look for room where temporary files go; the proxy itself keeps nothing on disk."""
    try:
        free = shutil.disk_usage(directory).free
    except OSError as error:
        return warning(
            "disk", f"{directory} cannot be looked at: {error.strerror}", "mount it, or set TMPDIR"
        )
    if free < _LITTLE_DISK:
        return warning(
            "disk",
            f"{_mib(free)} are free in {directory}; the proxy keeps nothing there, its neighbours may",
            "make room before logs and neighbours need it",
        )
    return ok("disk", f"{_mib(free)} are free in {directory}; the proxy keeps nothing on disk")


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
