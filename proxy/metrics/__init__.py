"""Metrics, and their exposition to Prometheus.

instruments  counters, histograms and gauges of one process, and their snapshots
catalogue    every metric that the proxy has, by name
exposition   snapshots of one or many processes -> the text that Prometheus reads
"""
