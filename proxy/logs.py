"""Structured log lines on standard error, each with the id of the request it belongs to."""

from __future__ import annotations

import logging
import re
import sys
import uuid

import orjson
import structlog

from proxy.config import LogConfig

_FOREIGN_REQUEST_ID = re.compile(r"[A-Za-z0-9._:/+=-]{1,128}")


def configure(config: LogConfig) -> None:
    """Send our lines, and the libraries' warnings, to standard error in the configured format."""
    level = logging.getLevelNamesMapping()[config.level.upper()]
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    renderer: structlog.typing.Processor
    if config.format == "json":
        shared.append(structlog.processors.format_exc_info)
        renderer = structlog.processors.JSONRenderer(
            serializer=lambda event, **_: orjson.dumps(event, default=str).decode()
        )
    else:
        renderer = structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())
    structlog.configure(
        processors=[*shared, renderer],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(foreign_pre_chain=shared, processors=[_without_record, renderer])
    )
    logging.basicConfig(handlers=[handler], level=max(level, logging.WARNING), force=True)


def _without_record(
    logger: object, name: str, event: structlog.typing.EventDict
) -> structlog.typing.EventDict:
    return structlog.stdlib.ProcessorFormatter.remove_processors_meta(logger, name, event)


def get_logger() -> structlog.typing.FilteringBoundLogger:
    """Return the logger that every module uses."""
    return structlog.get_logger()  # type: ignore[no-any-return]


def bind_request_id(offered: str | None) -> str:
    """Put a request id on every line of this task and return it; a sane one that was offered is kept."""
    request_id = offered if offered and _FOREIGN_REQUEST_ID.fullmatch(offered) else uuid.uuid4().hex
    structlog.contextvars.bind_contextvars(request_id=request_id)
    return request_id


def bind_user(name: str | None) -> None:
    """Put the user, once it proved to be that, on every line of this request; None: nobody did so far."""
    if name is None:
        structlog.contextvars.unbind_contextvars("user")
    else:
        structlog.contextvars.bind_contextvars(user=name)
