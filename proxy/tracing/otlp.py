"""Spans by OpenTelemetry's SDK, exported by OTLP over HTTP in batches, from a thread of its own.

The one module that imports ``opentelemetry``, and only when tracing is configured.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import threading
from collections.abc import AsyncIterator, Mapping, MutableMapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from proxy.config import TracingConfig
from proxy.logs import add_context, get_logger
from proxy.tracing import spans

if TYPE_CHECKING:
    from opentelemetry import trace
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

_ENDPOINTS: Final = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
_SERVICE: Final = "twodfs-proxy"
_LAST_SPANS: Final = 2.0
"""Seconds for the spans that are left at the end, after the grace of the requests."""
_MISSING: Final = (
    "tracing needs OpenTelemetry, which is not installed: pip install opentelemetry-sdk "
    "opentelemetry-exporter-otlp-proto-http, or leave tracing.endpoint empty"
)


class TracingError(Exception):
    """Tracing is configured but not available; the message names the change."""


@contextlib.asynccontextmanager
async def tracing(config: TracingConfig) -> AsyncIterator[None]:
    """Trace for the time of the context, where the configuration or OpenTelemetry's environment asks for it.

    Raises:
        TracingError: ``tracing.endpoint`` is set and the extra is not installed.
    """
    if not is_wanted(config, os.environ):
        yield
        return
    try:
        provider = _provider(config)
    except ImportError:
        if config.endpoint:
            raise TracingError(_MISSING) from None
        get_logger().warning("not tracing", reason=_MISSING)  # the platform's environment, not our operator's wish
        yield
        return
    from opentelemetry.trace.propagation.tracecontext import (  # noqa: PLC0415 - the extra may be absent
        TraceContextTextMapPropagator,
    )

    spans.use(_Tracer(provider.get_tracer("proxy"), TraceContextTextMapPropagator()))
    add_context(spans.log_context)
    try:
        yield
    finally:
        spans.use(None)
        await _send_the_rest(provider)


def require(config: TracingConfig) -> None:
    """Raise ``TracingError`` where tracing is configured and not available."""
    if config.endpoint and is_wanted(config, os.environ):
        try:
            import opentelemetry.exporter.otlp.proto.http  # noqa: F401, PLC0415 - slow, and maybe absent
        except ImportError:
            raise TracingError(_MISSING) from None


async def _send_the_rest(provider: Any) -> None:
    """Send the remaining spans, but not for long: the collector may hang, and the process is to end."""
    sending = threading.Thread(target=provider.shutdown, daemon=True)  # a thread that the end does not wait for
    sending.start()
    await asyncio.to_thread(sending.join, _LAST_SPANS)
    if sending.is_alive():
        get_logger().warning("spans were not sent", reason=f"the collector took longer than {_LAST_SPANS:g} s")


def is_wanted(config: TracingConfig, environment: Mapping[str, str]) -> bool:
    """Say whether anything asks for traces."""
    if environment.get("OTEL_SDK_DISABLED", "").lower() == "true":
        return False
    return bool(config.endpoint) or any(environment.get(name) for name in _ENDPOINTS)


def _provider(config: TracingConfig) -> Any:
    # Imported here: it costs a quarter of a second, and the extra may be absent.
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter  # noqa: PLC0415
    from opentelemetry.sdk.resources import SERVICE_NAME, Resource  # noqa: PLC0415
    from opentelemetry.sdk.trace import TracerProvider  # noqa: PLC0415
    from opentelemetry.sdk.trace.export import BatchSpanProcessor  # noqa: PLC0415
    from opentelemetry.sdk.trace.sampling import ParentBasedTraceIdRatio  # noqa: PLC0415

    from_environment = "OTEL_SERVICE_NAME" in os.environ or "service.name=" in os.environ.get(
        "OTEL_RESOURCE_ATTRIBUTES", ""
    )
    name = config.service_name or ("" if from_environment else _SERVICE)
    provider = TracerProvider(
        sampler=None if config.sample_ratio is None else ParentBasedTraceIdRatio(config.sample_ratio),
        resource=Resource.create({SERVICE_NAME: name} if name else {}),
        shutdown_on_exit=False,  # we do it, off the loop
    )
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(config.endpoint or None)))
    return provider


@dataclass(frozen=True, slots=True)
class _Tracer:
    """Implements ``spans.Tracer``."""

    tracer: trace.Tracer
    propagator: TraceContextTextMapPropagator

    def begin(self, headers: Mapping[str, str]) -> spans.Span:
        from opentelemetry import trace  # noqa: PLC0415 - the extra may be absent

        known = {name: headers[name] for name in (spans.TRACEPARENT, spans.TRACESTATE) if name in headers}
        context = self.propagator.extract(known)
        return _Span(self, self.tracer.start_span("request", context, trace.SpanKind.SERVER))


@dataclass(frozen=True, slots=True)
class _Span:
    """Implements ``spans.Span``."""

    by: _Tracer
    span: trace.Span

    @property
    def trace_id(self) -> str | None:
        return f"{self.span.get_span_context().trace_id:032x}" if self.span.is_recording() else None

    @property
    def span_id(self) -> str:
        return f"{self.span.get_span_context().span_id:016x}"

    def child(self, name: str) -> spans.Span:
        from opentelemetry import trace  # noqa: PLC0415 - the extra may be absent

        return _Span(self.by, self.by.tracer.start_span(name, trace.set_span_in_context(self.span)))

    def carry(self, headers: MutableMapping[Any, str]) -> None:
        from opentelemetry import trace  # noqa: PLC0415 - the extra may be absent

        headers.pop(spans.TRACESTATE, None)
        self.by.propagator.inject(headers, trace.set_span_in_context(self.span))

    def describe(self, name: str, attributes: Mapping[str, Any], *, is_failed: bool) -> None:
        from opentelemetry.trace import StatusCode  # noqa: PLC0415 - the extra may be absent

        if self.span.is_recording():
            self.span.update_name(name)
            self.span.set_attributes(attributes)
            if is_failed:
                self.span.set_status(StatusCode.ERROR)

    def end(self, error: BaseException | None = None) -> None:
        from opentelemetry.trace import StatusCode  # noqa: PLC0415 - the extra may be absent

        if error is not None and self.span.is_recording():
            # Its name alone: messages and tracebacks may hold secrets.
            self.span.set_attribute("error.type", type(error).__name__)
            self.span.set_status(StatusCode.ERROR)
        self.span.end()
