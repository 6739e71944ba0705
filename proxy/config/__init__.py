"""Configuration: flags over environment over TOML file over defaults.

Every setting has one dotted path (``cache.redis_url``), which is its place in the TOML file and, upper-cased
with underscores behind ``TWODFS_PROXY_``, its environment variable (``TWODFS_PROXY_CACHE_REDIS_URL``)::

    values       what a single value may be
    schema       the sections, every setting with its default and its meaning
    sources      flags, environment and file, merged; mistakes put into words
"""

from __future__ import annotations

from proxy.config.schema import (
    CacheConfig,
    ClientConfig,
    Config,
    LogConfig,
    MetricsConfig,
    PartitionConfig,
    TracingConfig,
    UpstreamConfig,
)
from proxy.config.sources import ConfigError, environment_variable, load, settings
from proxy.config.values import Address

__all__ = [
    "Address",
    "CacheConfig",
    "ClientConfig",
    "Config",
    "ConfigError",
    "LogConfig",
    "MetricsConfig",
    "PartitionConfig",
    "TracingConfig",
    "UpstreamConfig",
    "environment_variable",
    "load",
    "settings",
]
