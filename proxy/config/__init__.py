"""Configuration: flags over environment over TOML file over defaults.

Every setting has one dotted path (``cache.redis_url``), which is its place in the TOML file and, upper-cased
with underscores behind ``TWODFS_PROXY_``, its environment variable (``TWODFS_PROXY_CACHE_REDIS_URL``)::

    redis_url    where Redis is: one server, Sentinels, a cluster
    values       the types of single values
    section      a table of the file
    upstream     the registry behind the proxy
    edge         content kept on disk
    listener     the public listener, and its limits for clients
    partitions   how partitions are cut, kept and signed
    access       authentication and rights of clients
    registries   further registries behind the same proxy
    telemetry    logs, metrics and traces
    schema       the whole, every setting with its default and its meaning
    sources      flags, environment and file, merged; mistakes put into words
"""

from __future__ import annotations

from proxy.config.access import AuthConfig, ClientsConfig, RuleConfig, TokenConfig
from proxy.config.edge import EdgeConfig
from proxy.config.listener import ClientConfig, LimitsConfig, TlsConfig
from proxy.config.partitions import CacheConfig, PartitionConfig, SigningConfig
from proxy.config.redis_url import RedisAddress, Topology
from proxy.config.registries import FurtherUpstreamConfig
from proxy.config.schema import Config
from proxy.config.sources import ConfigError, environment_variable, load, settings
from proxy.config.telemetry import LogConfig, MetricsConfig, TracingConfig
from proxy.config.upstream import BlobsConfig, CredentialsConfig, UpstreamConfig
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
    "EdgeConfig",
    "FurtherUpstreamConfig",
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
