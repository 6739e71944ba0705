"""Spans, as the rest of the proxy sees them.

OpenTelemetry's own middleware for aiohttp costs three quarters of the throughput, at any sampling. Here a
request that is not sampled makes no span at all, and without a tracer every call below is one test of a
variable.
"""

from __future__ import annotations

import functools
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from contextvars import ContextVar
from typing import Any, Final, ParamSpec, Protocol, TypeVar

P = ParamSpec("P")
T = TypeVar("T")

TRACEPARENT: Final = "traceparent"
TRACESTATE: Final = "tracestate"


class Span(Protocol):
    """One stretch of a request's time."""

    @property
    def trace_id(self) -> str | None:
        """32 hex digits, or None when the request is not sampled."""

    @property
    def span_id(self) -> str:
        """16 hex digits."""

    def child(self, name: str) -> Span:
        """Begin a stretch within this one."""

    def carry(self, headers: MutableMapping[Any, str]) -> None:
        """Write the context into the headers of a request upstream."""

    def describe(self, name: str, attributes: Mapping[str, Any], *, is_failed: bool) -> None:
        """Add attributes that are known only at its end."""

    def end(self, error: BaseException | None = None) -> None:
        """End it; it is exported later, in another thread."""


class Tracer(Protocol):
    """Begins traces."""

    def begin(self, headers: Mapping[str, str]) -> Span:
        """Begin the stretch of a whole request, in the trace that its headers name."""


class _State:
    tracer: Tracer | None = None


_current: ContextVar[Span | None] = ContextVar("span", default=None)


def use(tracer: Tracer | None) -> None:
    """Trace from now on; None: no more."""
    _State.tracer = tracer


def serves(function: Callable[P, Awaitable[T]]) -> Callable[P, Awaitable[T]]:
    """Make each call one request's span; the last argument is the request."""

    @functools.wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> Awaitable[T]:
        tracer = _State.tracer
        if tracer is None:
            return function(*args, **kwargs)
        headers: Mapping[str, str] = args[-1].headers  # type: ignore[attr-defined]
        return _within(lambda: tracer.begin(headers), function(*args, **kwargs))

    return call


def traced(name: str) -> Callable[[Callable[P, Awaitable[T]]], Callable[P, Awaitable[T]]]:
    """Return a decorator: each call is a span called ``name`` within the current one."""

    def decorate(function: Callable[P, Awaitable[T]]) -> Callable[P, Awaitable[T]]:
        @functools.wraps(function)
        def call(*args: P.args, **kwargs: P.kwargs) -> Awaitable[T]:
            if _State.tracer is None:
                return function(*args, **kwargs)
            span = _current.get()
            if span is None or span.trace_id is None:
                return function(*args, **kwargs)
            return _within(lambda: span.child(name), function(*args, **kwargs))

        return call

    return decorate


async def _within(begin: Callable[[], Span], work: Awaitable[T]) -> T:
    span = begin()
    before = _current.set(span)
    problem: BaseException | None = None
    try:
        return await work
    except BaseException as error:
        problem = error
        raise
    finally:
        _current.reset(before)
        span.end(problem)


def carry(headers: MutableMapping[Any, str]) -> None:
    """Name the current span in the headers of a request upstream; without tracing they stay as they are."""
    if _State.tracer is not None and (span := _current.get()) is not None:
        span.carry(headers)


def trace_id() -> str | None:
    """Return the id of the current trace, if it is sampled."""
    if _State.tracer is None:
        return None
    span = _current.get()
    return None if span is None else span.trace_id


def describe(name: str, attributes: Mapping[str, Any], *, is_failed: bool) -> None:
    """Add attributes to the current span."""
    if _State.tracer is not None and (span := _current.get()) is not None:
        span.describe(name, attributes, is_failed=is_failed)


def log_context() -> dict[str, Any]:
    """Return the current span's fields for a log line."""
    if _State.tracer is None or (span := _current.get()) is None or span.trace_id is None:
        return {}
    return {"trace_id": span.trace_id, "span_id": span.span_id}
