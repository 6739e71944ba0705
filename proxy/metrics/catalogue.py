"""Every metric that the proxy has. ``docs/observability.md`` has this list; a test compares them."""

from __future__ import annotations

import contextlib
import platform
import re
import resource
import time
from collections.abc import Iterator
from http import HTTPStatus
from pathlib import Path
from typing import Final

from proxy import stderr
from proxy.globs import expression
from proxy.metrics.instruments import CATALOGUE, Counter, Distribution, Gauge, Histogram, Meter, Tally
from proxy.repository import DEFAULT_UPSTREAM, Repository
from twodfs import __version__
from twodfs.flatten.cut import FLATTEN_VERSION

CLIENT_GONE: Final = 499
"""nginx's number for a client that left before its answer; nobody receives it."""
_METHODS: Final = frozenset({"GET", "HEAD", "PUT", "POST", "PATCH", "DELETE", "OPTIONS"})
_STATUSES: Final = frozenset({*map(int, HTTPStatus), CLIENT_GONE})
_MOST_REPOSITORIES: Final = 1000
_RESIDENT: Final = Path("/proc/self/statm")
_OPEN: Final = Path("/proc/self/fd")
UPSTREAM: Final = "upstream"
"""The label with a registry's name. The default one has none, so that its series are those of a single registry."""

REQUESTS: Final = Counter(
    "twodfs_proxy_requests_total",
    "Requests answered. kind: partition, manifest, blob, write, other, invalid. "
    "status 499: the client left before its answer.",
    "kind",
    "method",
    "status",
    UPSTREAM,
)
REQUEST_SECONDS: Final = Histogram(
    "twodfs_proxy_request_seconds",
    "Seconds from a request's head to the end of its answer; a relayed body is in it, its client's pace too.",
    "kind",
    UPSTREAM,
)
IN_FLIGHT: Final = Gauge("twodfs_proxy_in_flight", "Requests that are being answered now.", UPSTREAM)
UPSTREAM_SECONDS: Final = Histogram(
    "twodfs_proxy_upstream_seconds",
    "Seconds the registry took. operation: stream (until the head of an answer that is relayed), "
    "head, get (whole answers that the proxy reads itself).",
    "operation",
    UPSTREAM,
)
UPSTREAM_ERRORS: Final = Counter(
    "twodfs_proxy_upstream_errors_total",
    "Questions that the registry did not answer as a registry does. reason: unreachable, connect_timeout, "
    "timeout, tls, redirect (where we do not go), broke_off, answer (too long, compressed), "
    "digest (other content than its digest says).",
    "reason",
    UPSTREAM,
)
CACHE_LOOKUPS: Final = Counter(
    "twodfs_proxy_cache_lookups_total",
    "Look-ups of what was made or fetched before. tier: memory, disk, redis. outcome: hit, miss, "
    "error (no answer, or not asked since it failed), rotten (failed its check).",
    "tier",
    "outcome",
)
MEMORY_BYTES: Final = Gauge("twodfs_proxy_memory_bytes", "Bytes of documents kept in memory.")
SYNTHESIS_SECONDS: Final = Histogram(
    "twodfs_proxy_synthesis_seconds", "Seconds to cut a partition, with fetching what it is cut from.", UPSTREAM
)
SYNTHESIS_CELLS: Final = Counter("twodfs_proxy_synthesis_cells_total", "Allotments in the partitions that were cut.")
SPARED_BYTES: Final = Counter(
    "twodfs_proxy_spared_bytes_total",
    "Bytes of allotments left out of partitions, counted when a GET gives a partition's top document.",
)
RELAYED_BYTES: Final = Counter(
    "twodfs_proxy_relayed_bytes_total",
    "Bytes of bodies relayed. direction: down (registry to client), up (client to registry).",
    "direction",
)
RELAYED_BODIES: Final = Counter(
    "twodfs_proxy_relayed_bodies_total",
    "Bodies relayed. way: spliced (inside the kernel), decrypted (from TLS straight into the client's "
    "socket), buffered (small, of unknown length, or where neither can be done).",
    "way",
)
BROKEN_TRANSFERS: Final = Counter(
    "twodfs_proxy_broken_transfers_total",
    "Relayed answers that went wrong. reason: client (took nothing in time), upstream (sent nothing in "
    "time), short (the registry ended it before its announced length), surplus (more came than was "
    "announced, so the registry's connection was closed), broke_off (either hung up).",
    "reason",
    UPSTREAM,
)
EDGE_BYTES: Final = Gauge(
    "twodfs_proxy_edge_bytes", "Bytes of whole content in the edge directory; absent without one.", joined=max
)
EDGE_BLOBS: Final = Gauge(
    "twodfs_proxy_edge_blobs", "Blobs and documents that are whole in the edge directory.", joined=max
)
EDGE_FREE_BYTES: Final = Gauge(
    "twodfs_proxy_edge_free_bytes", "Bytes that are free on the disk of the edge directory.", joined=min
)
EDGE_EVICTIONS: Final = Counter(
    "twodfs_proxy_edge_evictions_total", "Blobs removed from the edge directory to make room."
)
EDGE_EVICTED_BYTES: Final = Counter(
    "twodfs_proxy_edge_evicted_bytes_total", "Bytes removed from the edge directory to make room."
)
EDGE_ROTTEN: Final = Counter(
    "twodfs_proxy_edge_rotten_total",
    "Files of the edge directory that were not what their name says, so they were removed.",
)
EDGE_FILLS: Final = Counter(
    "twodfs_proxy_edge_fills_total",
    "Blobs fetched to the edge's disk. outcome: complete, resumed (complete, in more than one go), broken (given up, "
    "goes on with the next reader), refused (credentials ran out), digest (other content than its digest says), "
    "changed (what came later did not fit what came before), abandoned (its last reader left), full (the disk).",
    "outcome",
)
EDGE_FILLED_BYTES: Final = Counter(
    "twodfs_proxy_edge_filled_bytes_total", "Bytes of blobs that came from the registry to the edge's disk."
)
EDGE_SERVED_BYTES: Final = Counter(
    "twodfs_proxy_edge_served_bytes_total",
    "Bytes of blobs sent from the edge's disk. source: disk (whole blobs), filling (blobs on their way).",
    "source",
)
EDGE_FILLING: Final = Gauge("twodfs_proxy_edge_filling", "Blobs that are on their way to the edge's disk.")
REDIS_UP: Final = Gauge("twodfs_proxy_redis_up", "1 while Redis answers; absent where none is configured.", joined=min)
UPSTREAM_UP: Final = Gauge(
    "twodfs_proxy_upstream_up",
    "1 while this origin of the registry takes connections. origin: its place in upstream.url, from 0.",
    "origin",
    UPSTREAM,
    joined=min,
)
BREAKER_OPEN: Final = Gauge(
    "twodfs_proxy_breaker_open",
    "1 while nobody asks, since it failed. breaker: redis, upstream-0 and so on (of several origins), "
    "edge (the registry hangs, the disk answers).",
    "breaker",
    UPSTREAM,
    joined=max,
)
REPOSITORY_REQUESTS: Final = Counter(
    "twodfs_proxy_repository_requests_total",
    "Requests answered 2xx or 3xx, of repositories that metrics.repositories lists; "
    f"after {_MOST_REPOSITORIES} of them, OTHER.",
    "repository",
    "kind",
    UPSTREAM,
)
EDGE_STALE: Final = Counter(
    "twodfs_proxy_edge_stale_total",
    "Answers that were the registry's last, since it could not be asked. resource: tag, referrers, root (/v2/).",
    "resource",
    UPSTREAM,
)
EDGE_STALE_AGE: Final = Gauge(
    "twodfs_proxy_edge_stale_age_seconds",
    "Age of the oldest such answer since the registry stopped answering; 0 while it answers.",
    UPSTREAM,
    joined=max,
)
EDGE_OFFLINE: Final = Gauge(
    "twodfs_proxy_edge_offline_seconds",
    "Seconds for which the registry has not answered an edge node's questions; 0 while it does.",
    UPSTREAM,
    joined=max,
)
WORKERS: Final = Gauge("twodfs_proxy_workers", "Worker processes that take requests.")
WORKER_RESTARTS: Final = Counter(
    "twodfs_proxy_worker_restarts_total", "Workers that ended by themselves and were replaced."
)
LOG_LINES_DROPPED: Final = Meter(
    "twodfs_proxy_log_lines_dropped_total",
    "Lines of the log that are lost: standard error's reader stood still, or it could not be written.",
)
BUILD_INFO: Final = Gauge(
    "twodfs_proxy_build_info",
    "Always 1; the labels say what runs.",
    "version",
    "flatten",
    "python",
    joined=max,
)
PROCESS_CPU: Final = Meter(
    "process_cpu_seconds_total", "Seconds of processor time, user and system, all workers together."
)
PROCESS_RESIDENT: Final = Gauge(
    "process_resident_memory_bytes", "Resident bytes; pages that workers share count for each."
)
PROCESS_FDS: Final = Gauge("process_open_fds", "Open file descriptors.")
PROCESS_MAX_FDS: Final = Gauge("process_max_fds", "Most file descriptors that each process may open.", joined=min)
PROCESS_START: Final = Gauge(
    "process_start_time_seconds", "Start of the oldest process, in seconds since the epoch.", joined=min
)


def begin_counting(upstream: str) -> None:
    """Show a registry's series from the start on, so that a rate over the first count is seen."""
    for reason in (
        "unreachable",
        "connect_timeout",
        "timeout",
        "tls",
        "redirect",
        "broke_off",
        "answer",
        "digest",
    ):
        UPSTREAM_ERRORS.of(reason, upstream)
    for reason in ("client", "upstream", "short", "surplus", "broke_off"):
        BROKEN_TRANSFERS.of(reason, upstream)
    for kind in ("tag", "referrers", "root"):
        EDGE_STALE.of(kind, upstream)
    SYNTHESIS_SECONDS.of(upstream)


begin_counting(DEFAULT_UPSTREAM)
for _counter in (WORKER_RESTARTS, EDGE_EVICTIONS, EDGE_EVICTED_BYTES, EDGE_ROTTEN):
    _counter.of()
for _outcome in ("complete", "resumed", "broken", "refused", "digest", "changed", "abandoned", "full"):
    EDGE_FILLS.of(_outcome)

EDGE_FILLED: Final = EDGE_FILLED_BYTES.of()
EDGE_SERVED_DISK: Final = EDGE_SERVED_BYTES.of("disk")
EDGE_SERVED_FILLING: Final = EDGE_SERVED_BYTES.of("filling")
RELAYED_DOWN: Final = RELAYED_BYTES.of("down")
RELAYED_UP: Final = RELAYED_BYTES.of("up")
SPLICED: Final = RELAYED_BODIES.of("spliced")
DECRYPTED: Final = RELAYED_BODIES.of("decrypted")
BUFFERED: Final = RELAYED_BODIES.of("buffered")
SPARED: Final = SPARED_BYTES.of()
CELLS: Final = SYNTHESIS_CELLS.of()
MEMORY_HIT: Final = CACHE_LOOKUPS.of("memory", "hit")
MEMORY_MISS: Final = CACHE_LOOKUPS.of("memory", "miss")
DISK_HIT: Final = CACHE_LOOKUPS.of("disk", "hit")
DISK_MISS: Final = CACHE_LOOKUPS.of("disk", "miss")
DISK_ERROR: Final = CACHE_LOOKUPS.of("disk", "error")
DISK_CORRUPT: Final = CACHE_LOOKUPS.of("disk", "rotten")
REDIS_HIT: Final = CACHE_LOOKUPS.of("redis", "hit")
REDIS_MISS: Final = CACHE_LOOKUPS.of("redis", "miss")
REDIS_ERROR: Final = CACHE_LOOKUPS.of("redis", "error")
REDIS_CORRUPT: Final = CACHE_LOOKUPS.of("redis", "rotten")

_requests: Final[dict[tuple[str, str, int, str], tuple[Tally, Distribution]]] = {}


def count_request(
    kind: str,
    method: str,
    status: int,
    seconds: float,
    *,
    trace_id: str | None = None,
    upstream: str = DEFAULT_UPSTREAM,
) -> None:
    """Count a request that was answered. Method and status come from outside, so both are bounded here."""
    key = (kind, method, status, upstream)
    series = _requests.get(key)
    if series is None:
        known_method = method if method in _METHODS else "OTHER"
        known_status = str(status) if status in _STATUSES else f"{status // 100}xx"
        series = REQUESTS.of(kind, known_method, known_status, upstream), REQUEST_SECONDS.of(kind, upstream)
        if method in _METHODS and status in _STATUSES:  # else clients could fill this memory
            _requests[key] = series
    count, spread = series
    count.value += 1
    spread.observe(seconds, trace_id)


class Repositories:
    """Counts requests by repository, for the repositories that the operator lists."""

    def __init__(self, patterns: tuple[str, ...]) -> None:
        """``patterns``: names, ``*`` for any part of one."""
        parts = (expression(pattern.replace("*", "**")) for pattern in patterns)
        self._wanted = re.compile("|".join(f"(?:{part})" for part in parts)) if patterns else None
        self._seen: set[Repository] = set()

    def count(self, repository: Repository, kind: str) -> None:
        """Count a request that the registry allowed: made-up names must not become labels."""
        if self._wanted is None or self._wanted.fullmatch(repository.name) is None:
            return
        if repository not in self._seen and len(self._seen) < _MOST_REPOSITORIES:
            self._seen.add(repository)
        name = repository.name if repository in self._seen else "OTHER"
        REPOSITORY_REQUESTS.of(name, kind, repository.upstream).add()


def markdown() -> str:
    """Return every metric as the table of ``docs/observability.md``."""
    rows = ("| metric | kind | labels | meaning |", "|---|---|---|---|")
    cells = (
        f"| `{one.name}` | {one.kind} | {', '.join(f'`{label}`' for label in one.labels)} | {one.meaning} |"
        for one in CATALOGUE.values()
    )
    return "\n".join((*rows, *cells))


@contextlib.contextmanager
def process() -> Iterator[None]:
    """Tell about this process for the time of the context."""
    started = time.time()
    with contextlib.ExitStack() as stack:
        python = platform.python_version()
        stack.enter_context(BUILD_INFO.read_from(lambda: 1, __version__, str(FLATTEN_VERSION), python))
        stack.enter_context(LOG_LINES_DROPPED.read_from(stderr.dropped))
        stack.enter_context(PROCESS_CPU.read_from(time.process_time))
        stack.enter_context(PROCESS_START.read_from(lambda: started))
        if _RESIDENT.exists():  # Linux
            stack.enter_context(PROCESS_RESIDENT.read_from(_resident_bytes))
            stack.enter_context(PROCESS_FDS.read_from(lambda: sum(1 for _ in _OPEN.iterdir())))
            stack.enter_context(PROCESS_MAX_FDS.read_from(_most_fds))
        yield


def _resident_bytes() -> float:
    pages = _RESIDENT.read_text(encoding="ascii").split()[1]
    return float(int(pages) * resource.getpagesize())


def _most_fds() -> float:
    return resource.getrlimit(resource.RLIMIT_NOFILE)[0]
