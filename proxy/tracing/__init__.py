"""Traces: what a request waited for, told to a collector.

spans   what the other modules call; without a tracer each call is one test
otlp    OpenTelemetry's SDK, imported only when tracing is configured
"""
