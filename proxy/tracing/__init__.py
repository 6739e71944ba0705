"""Traces: the waits of a request as spans, sent to a collector.

spans   the functions that other modules call; without a tracer each call is one test
otlp    OpenTelemetry's SDK, imported only when tracing is configured
"""
