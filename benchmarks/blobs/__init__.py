"""Blobs through the proxy, beside nginx and the upstream alone: throughput, processor time, memory."""
