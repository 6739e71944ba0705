"""Structured log lines on standard error, each with the id of the request it belongs to.

Secrets stay out twice: callers log paths without their queries and never headers, and any text that comes
with an error goes through ``redacted``. The line of each request is most of the log of a busy proxy, so it has
a way of its own past structlog (``AccessLine``).
"""

from __future__ import annotations

import logging
import os
import random
import re
import sys
import time
from collections.abc import Callable
from contextvars import ContextVar
from datetime import UTC, datetime
from functools import lru_cache
from http import HTTPStatus
from typing import Any, Final, TextIO, cast

import orjson
import structlog

from proxy.config import LogConfig
from proxy.stderr import LineQueue
from twodfs.printable import LAYOUT, printable

_FOREIGN_REQUEST_ID = re.compile(r"[A-Za-z0-9._:/+=-]{1,128}")
# Query parameters that prove something (token flow, upload state, signed URLs), user info of a URL, and the value that
# an Authorization header carries. Clients choose the text that is searched, so nothing is tried twice: each name is
# read to its end or up to its first "token", and the match never backtracks.
_SECRET: Final = re.compile(
    r"(?i)([?&;](?:_state|account|password|secret|client_secret|code|sig|signature"
    r"|(?:(?!token)[\w.-])*+token[\w.-]*+|[\w.-]*+(?<=key)"
    r"|x-amz-(?:signature|credential|security-token)|x-goog-(?:signature|credential))=)[^&\s\"'<>;]*+"
    r"|(//)[^/@\s]++(?=@)"
    r"|\b((?:bearer|basic)\s++)(?!(?:bearer|basic)\s)[A-Za-z0-9._~+/=-]++"
)
# A character that a path contains where it could hold one of these; most have none of it.
_SUSPICIOUS: Final = re.compile(r"[=@\s]")
_KEY_ID_BYTES: Final = 6
_LONGEST_AGENT: Final = 200
# Engines of one kind call themselves the same.
_AGENTS_REMEMBERED: Final = 512

_request_id: ContextVar[str] = ContextVar("request_id", default="")
_user: ContextVar[str | None] = ContextVar("user", default=None)
_key_id: ContextVar[str | None] = ContextVar("key_id", default=None)
_upstream: ContextVar[str] = ContextVar("upstream", default="")
# Fields of every line of this process: the worker's name, and the identifiers of the request's trace.
_always: dict[str, Any] = {}
_sources: list[Callable[[], dict[str, Any]]] = []


def configure(config: LogConfig, **always: object) -> None:
    """Send our lines, and the libraries' warnings, to standard error; ``always`` is on each of them."""
    _always.clear()
    _always.update(always)
    level = logging.getLevelNamesMapping()[config.level.upper()]
    lines = LineQueue(sys.stderr)
    shared: list[structlog.typing.Processor] = [
        _with_context,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,  # as text, so that it can be searched for secrets
        _without_secrets,
    ]
    renderer: structlog.typing.Processor
    if config.format == "json":
        renderer = structlog.processors.JSONRenderer(
            serializer=lambda event, **_: orjson.dumps(event, default=str).decode()
        )
    else:
        renderer = structlog.dev.ConsoleRenderer(
            colors=lines.isatty(), exception_formatter=structlog.dev.plain_traceback
        )
    structlog.configure(
        processors=[*shared, renderer],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.WriteLoggerFactory(cast("TextIO", lines)),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(lines)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(foreign_pre_chain=shared, processors=[_without_record, renderer])
    )
    logging.basicConfig(handlers=[handler], level=max(level, logging.WARNING), force=True)


def add_context(source: Callable[[], dict[str, Any]]) -> None:
    """Add the fields that ``source`` returns to every line from now on."""
    if source not in _sources:
        _sources.append(source)


def _with_context(_: object, __: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
    event.update(_always)
    if request_id := _request_id.get():
        event["request_id"] = request_id
    if user := _user.get():
        event["user"] = user
    if upstream := _upstream.get():
        event["upstream"] = upstream
    for source in _sources:
        event.update(source())
    return event


def _without_secrets(_: object, __: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
    for name, value in event.items():
        if isinstance(value, str):
            event[name] = printable(redacted(value), kept=LAYOUT)
    return event


def redacted(text: str) -> str:
    """Return ``text`` with everything that could be a secret replaced by ``***``."""
    return _SECRET.sub(lambda found: f"{found[1] or found[2] or found[3]}***", text)


def _without_record(logger: object, name: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
    return structlog.stdlib.ProcessorFormatter.remove_processors_meta(logger, name, event)


def get_logger() -> structlog.typing.FilteringBoundLogger:
    """Return the logger that every module uses."""
    return structlog.get_logger()  # type: ignore[no-any-return]


def bind_request_id(offered: str | None) -> str:
    """Put a request id on every line of this task and return it; a well-formed id from the client is kept."""
    request_id = offered if offered and _FOREIGN_REQUEST_ID.fullmatch(offered) else os.urandom(16).hex()
    _request_id.set(request_id)
    return request_id


def bind_user(name: str | None) -> None:
    """Put the user, once authenticated, on every line of this request; None: not authenticated."""
    _user.set(name and printable(name))


def bind_key_id(fingerprint: bytes | None) -> None:
    """Let the line of this request tell one client's credentials from another's; None: it has none.

    The result is a part of a keyed hash; its key never leaves this process, so no password can be tried.
    """
    _key_id.set(None if fingerprint is None else fingerprint[:_KEY_ID_BYTES].hex())


def bind_upstream(name: str) -> None:
    """Put the registry's name, as ``Repository.upstream`` has it, on every line of this task; the default has none."""
    _upstream.set(name)


def named(upstream: str) -> dict[str, str]:
    """Return the field that names a registry in a line that is of no request; none for the default one."""
    return {"upstream": upstream} if upstream else {}


@lru_cache(_AGENTS_REMEMBERED)
def _shown_agent(agent: str) -> str:
    """Return the user agent as it may stand in a line: clients choose it freely."""
    # Bytes in a header that are not UTF-8 come as surrogates, which JSON cannot have.
    whole = agent[:_LONGEST_AGENT].encode(errors="backslashreplace").decode()
    return printable(redacted(whole))


class AccessLine:
    """Writes the line of each request."""

    def __init__(self, config: LogConfig) -> None:
        self._level = logging.getLevelNamesMapping()[config.level.upper()]
        self._blob_sample = config.blob_sample
        self._is_json = config.format == "json"
        self._lines = LineQueue(sys.stderr)
        self._second = (0, "")

    def write(
        self,
        *,
        kind: str,
        method: str,
        path: str,
        status: int,
        seconds: float,
        remote: str | None,
        sent: int = 0,
        agent: str | None = None,
    ) -> None:
        """Write one line, unless level or sampling of blobs leave it out; errors are never sampled.

        ``sent``: bytes of the answer's body; ``agent``: the ``User-Agent``.
        """
        level = logging.WARNING if status >= HTTPStatus.INTERNAL_SERVER_ERROR else logging.INFO
        if level < self._level:
            return
        if (
            kind == "blob"
            and status < HTTPStatus.BAD_REQUEST
            and self._blob_sample < 1
            and random.random() >= self._blob_sample  # noqa: S311 - which lines to keep is no secret
        ):
            return
        if _SUSPICIOUS.search(path):  # a query or a header that was percent-encoded into the path
            path = redacted(path)
        path = printable(path)
        event = {
            "kind": kind,
            "method": method,
            "path": path,
            "status": status,
            "milliseconds": round(1000 * seconds, 3),
            "remote": remote,
            "bytes": sent,
        }
        if agent:
            event["user_agent"] = _shown_agent(agent)
        if key_id := _key_id.get():
            event["key_id"] = key_id
        if not self._is_json:
            log = get_logger().warning if level == logging.WARNING else get_logger().info
            log("request", **event)
            return
        event["event"] = "request"
        _with_context(None, "", event)
        event["level"] = "warning" if level == logging.WARNING else "info"
        event["timestamp"] = self._now()
        line = orjson.dumps(event, default=str, option=orjson.OPT_APPEND_NEWLINE)
        self._lines.put(line)

    def _now(self) -> str:
        """Return the time as structlog writes it; the part down to the second is made once a second."""
        second, fraction = divmod(time.time_ns() // 1000, 1_000_000)
        if self._second[0] != second:
            self._second = (second, f"{datetime.fromtimestamp(second, UTC):%Y-%m-%dT%H:%M:%S}")
        return f"{self._second[1]}.{fraction:06}Z"
