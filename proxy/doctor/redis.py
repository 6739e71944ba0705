"""The shared cache: is it there, is it Redis, will it keep records that cannot be made again?"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import statistics
import time
from typing import Any, Final
from urllib.parse import urlsplit

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import AuthenticationError, NoPermissionError, RedisClusterException, RedisError
from redis.exceptions import TimeoutError as RedisTimeoutError

from proxy.config import CacheConfig, RedisAddress, Topology
from proxy.doctor.finding import Finding, ok, problem, skipped, warning
from proxy.partitions.records import BlobSize, BlobSizeKey
from proxy.repository import DEFAULT_UPSTREAM, Repository
from proxy.store.clients import RedisFileError, open_client, tls_files
from proxy.store.records import seal
from proxy.store.redis import RedisStore
from proxy.store.replies import bounded_parser
from twodfs.oci.digest import digest_of
from twodfs.oci.reference import is_loopback

_CHECK: Final = "redis"
_TIMEOUT: Final = 3.0
_PINGS: Final = 5
_RECORD_SECONDS: Final = 10
_OLDEST: Final = 6
POLICY: Final = "volatile-ttl"
"""The policy for a full Redis: drop the keys that expire first (`docs/operations.md` has the measurement)."""


async def check_redis(config: CacheConfig, *, is_edge: bool = False) -> list[Finding]:
    """Return how the Redis of ``config`` is doing; one record is written that expires after seconds.

    ``is_edge``: a directory keeps what it would.
    """
    url = config.redis_url.get_secret_value()
    if not url:
        return [
            ok(
                _CHECK,
                "no Redis is configured: the edge directory keeps what it would"
                if is_edge
                else "no Redis is configured: each process remembers for itself, pinned digests until it ends",
            )
        ]
    findings = _transport(url)
    address = RedisAddress.parse(url)
    try:
        files = tls_files(address, config)
    except RedisFileError as error:
        return [
            *findings,
            problem(
                _CHECK,
                str(error),
                "correct the path, or what lies there: the proxy does not start without it",
            ),
        ]
    if address.topology is not Topology.SERVER:  # many servers, which the proxy's own client finds
        return [*findings, await _round_trip(config)]
    client = Redis.from_url(
        url,
        socket_timeout=_TIMEOUT,
        socket_connect_timeout=_TIMEOUT,
        retry=Retry(NoBackoff(), 0),
        parser_class=bounded_parser(config),
        **files,
    )
    try:
        answered = await _look(client, config)
    finally:
        with contextlib.suppress(RedisError, OSError, TimeoutError):
            async with asyncio.timeout(_TIMEOUT):
                await client.aclose()
    if any(finding.level == "problem" for finding in answered):
        return [*findings, *answered]
    return [*findings, *answered, await _round_trip(config)]


def _transport(url: str) -> list[Finding]:
    parts = urlsplit(url)
    host = parts.netloc.rpartition("@")[2]
    if parts.scheme == "unix" or is_loopback(host):
        return [ok(_CHECK, "Redis is on this machine: replicas on other machines do not share it")]
    if parts.scheme.startswith("redis") and not parts.scheme.startswith("rediss"):
        return [
            warning(
                _CHECK,
                "what the proxy keeps in Redis, and the password, cross the network in clear text",
                "use rediss:// (TLS), or a network of their own for the proxy and Redis",
            )
        ]
    return []


async def _look(client: Redis, config: CacheConfig) -> list[Finding]:
    try:
        async with asyncio.timeout(_TIMEOUT * 2):
            latency = await _latency(client)
            findings = [_speed(latency, config.redis_timeout)]
            info = await _info(client)
    except (RedisError, OSError, TimeoutError) as error:
        return [_unreachable(error)]
    if info is None:
        advice = "let its ACL user run INFO (+info) to have version, memory and persistence looked at"
        return [*findings, skipped(_CHECK, f"Redis does not tell about itself: {advice}")]
    return [*findings, _version(info), _role(info), _memory(info), _persistence(info)]


async def _latency(client: Redis) -> float:
    spent = []
    for _ in range(_PINGS):
        started = time.perf_counter()
        await client.ping()
        spent.append(time.perf_counter() - started)
    return statistics.median(spent)


async def _info(client: Redis) -> dict[str, Any] | None:
    try:
        info: dict[str, Any] = await client.info()
    except NoPermissionError:
        return None
    return info


def _unreachable(error: Exception) -> Finding:
    if isinstance(error, AuthenticationError) or "WRONGPASS" in str(error) or "NOAUTH" in str(error):
        return problem(
            _CHECK,
            "Redis refuses the user or password of cache.redis_url, or wants one",
            "correct them; percent-encode special characters (@ is %40)",
        )
    if isinstance(error, TimeoutError | RedisTimeoutError):
        sentence = f"Redis does not answer within {_TIMEOUT:g} s"
    elif isinstance(error, OSError) and error.strerror:
        sentence = f"Redis cannot be reached: {error.strerror}"
    else:
        sentence = f"Redis cannot be used: {_without_secrets(error)}"
    return problem(
        _CHECK,
        sentence,
        "check host, port, TLS (rediss://) and network policies; that what the URL calls Sentinel or cluster "
        "is one; that the user may GET, SET, SETEX and DEL. Pulls go on without it, slower and unshared",
    )


def _without_secrets(error: Exception) -> str:
    """The library's sentences name host and port, and no password; any other kind may hold anything."""
    is_redis = isinstance(error, RedisError | RedisClusterException)
    sentence = str(error).partition(" : <")[0]  # the library's own text about its objects
    return sentence if is_redis and "@" not in sentence else type(error).__name__


def _speed(latency: float, timeout: float) -> Finding:
    told = f"Redis answers in {latency * 1000:.1f} ms"
    if latency > timeout / 4:
        return warning(
            _CHECK,
            f"{told}; cache.redis_timeout is {timeout * 1000:.0f} ms, so a hiccup turns it off",
            "move Redis nearer, or raise cache.redis_timeout",
        )
    return ok(_CHECK, told)


def _version(info: dict[str, Any]) -> Finding:
    version = str(info.get("redis_version", ""))
    major = version.partition(".")[0]
    if major.isdecimal() and int(major) < _OLDEST:
        return warning(_CHECK, f"Redis {version} is old", f"use {_OLDEST} or later: older ones know no ACL users")
    return ok(_CHECK, f"its version is {version or 'not told'}")


def _role(info: dict[str, Any]) -> Finding:
    if info.get("role") == "slave":
        return problem(_CHECK, "this Redis is a replica, which takes no writes", "name the master, or its Sentinels")
    return ok(_CHECK, "it takes writes")


def _memory(info: dict[str, Any]) -> Finding:
    limit = int(info.get("maxmemory", 0))
    policy = str(info.get("maxmemory_policy", "noeviction"))
    if not limit:
        return warning(
            _CHECK,
            "Redis has no maxmemory: it grows until the system ends it",
            f"set maxmemory to what the machine can spare, and maxmemory-policy {POLICY}",
        )
    if policy == "noeviction":
        return warning(
            _CHECK,
            "a full Redis refuses writes (maxmemory-policy noeviction): the proxy then goes on without it",
            f"set maxmemory-policy {POLICY}: it drops what can be made again first",
        )
    if policy != POLICY:
        return warning(
            _CHECK,
            f"when Redis is full it may drop what pinned digests were cut from (maxmemory-policy {policy})",
            f"set maxmemory-policy {POLICY}: what expires first is dropped first",
        )
    return ok(_CHECK, f"maxmemory is {limit // 2**20:,}MiB with {policy}: what can be made again goes first")


def _persistence(info: dict[str, Any]) -> Finding:
    if int(info.get("aof_enabled", 0)):
        return ok(_CHECK, "it keeps an append-only file: pinned digests outlive its restart")
    return ok(
        _CHECK,
        "it keeps no append-only file: a restart may forget pinned digests until their tags are pulled",
    )


async def _round_trip(config: CacheConfig) -> Finding:
    """Seal a record, send it, read it back, all as the proxy does."""
    key = BlobSizeKey(Repository(DEFAULT_UPSTREAM, "twodfs/doctor"), digest_of(secrets.token_bytes(32)))
    record = BlobSize(secrets.randbelow(2**31))
    brief = config.model_copy(update={"ttl": _RECORD_SECONDS})
    sealed = seal(key, record, config.secret.get_secret_value().encode())
    if (refusal := await _refusal(brief, str(key), sealed)) is not None:
        return _unreachable(refusal)
    async with RedisStore.connect(brief) as store:
        came_back = await store.put({key: record}) and await store.get(key)
    if came_back == record:
        return ok(_CHECK, f"a sealed record came back whole under {config.key_prefix}:")
    return problem(
        _CHECK,
        f"a record put under {config.key_prefix}: did not come back within {config.redis_timeout:g} s",
        "check that the user may GET, SET, SETEX and DEL there, that memory is left, and cache.redis_timeout",
    )


async def _refusal(config: CacheConfig, key: str, sealed: bytes) -> Exception | None:
    """Return why the proxy's calls of Redis fail, which the store itself only counts."""
    quick = config.model_copy(update={"redis_timeout": _TIMEOUT})
    try:
        async with asyncio.timeout(_TIMEOUT), open_client(quick) as client:
            await client.prepare()
            await client.set_all([(key, sealed)], _RECORD_SECONDS)
            await client.cache.get(key)
    except (RedisError, RedisClusterException, OSError, TimeoutError) as error:
        return error
    return None
