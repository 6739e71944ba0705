"""Configuration: flags over environment over TOML file over defaults.

Every setting has one dotted path (``cache.redis_url``), which is its place in the TOML file and, upper-cased
with underscores behind ``TWODFS_PROXY_``, its environment variable (``TWODFS_PROXY_CACHE_REDIS_URL``)::

    redis_url    where Redis is: one server, Sentinels, a cluster
    values       what a single value may be
    schema       the sections, every setting with its default and its meaning
    sources      flags, environment and file, merged; mistakes put into words
"""

from __future__ import annotations

from proxy.config.redis_url import RedisAddress, Topology
from proxy.config.schema import (
    AuthConfig,
    BlobsConfig,
    CacheConfig,
    ClientConfig,
    ClientsConfig,
    Config,
    CredentialsConfig,
    LimitsConfig,
    LogConfig,
    MetricsConfig,
    PartitionConfig,
    RuleConfig,
    SigningConfig,
    TlsConfig,
    TokenConfig,
    TracingConfig,
    UpstreamConfig,
)
from proxy.config.sources import ConfigError, environment_variable, load, settings
from proxy.config.values import Address, Network

__all__ = [
    "Address",
    "AuthConfig",
    "BlobsConfig",
    "CacheConfig",
    "ClientConfig",
    "ClientsConfig",
    "Config",
    "ConfigError",
    "CredentialsConfig",
    "LimitsConfig",
    "LogConfig",
    "MetricsConfig",
    "Network",
    "PartitionConfig",
    "RedisAddress",
    "RuleConfig",
    "SigningConfig",
    "TlsConfig",
    "TokenConfig",
    "Topology",
    "TracingConfig",
    "UpstreamConfig",
    "environment_variable",
    "load",
    "settings",
]
