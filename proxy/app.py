"""Wiring and lifetimes: what is opened in which order, and closed in the reverse one."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import socket
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from aiohttp import web

from proxy.admin import Admin, ServiceHealth
from proxy.auth.access_control import Authenticator
from proxy.auth.realm import RealmPolicy
from proxy.bodies.transit import Bodies
from proxy.composition import CuttingParts, OpenRegistry, cutting_parts, dispatcher
from proxy.config import Address, CacheConfig, Config
from proxy.handlers.dispatcher import Dispatcher
from proxy.logs import get_logger
from proxy.metrics import catalogue
from proxy.metrics.instruments import Snapshot, snapshot
from proxy.preflight import (
    StartError,
    authenticator,
    listener_tls,
    registries,
    registry_named,
    rehearse_protections,
)
from proxy.readiness import Readiness
from proxy.store.memory import MemoryStore
from proxy.store.tiered import TieredStore
from proxy.tracing.otlp import TracingError, tracing
from proxy.upstream.upstream import Upstream
from proxy.wire.connections import ClientConnections
from proxy.wire.listener import Listener
from proxy.wire.tls import ListenerTls

if TYPE_CHECKING:
    from proxy.edge.node import EdgeNode
    from proxy.prefetch.endpoint import PrefetchEndpoint
    from proxy.store.redis import RedisStore

# Seconds for the requests left after the grace: cancelled requests say goodbye, then connections are cut.
_LAST_WORDS: Final = 0.5
_ONE_TURN: Final = 0.01
# Seconds for the first requests of connections that were just accepted: others go on accepting in our place,
# so a client has no reason to expect that this one is closed.
_FIRST_REQUESTS: Final = 0.25
BACKLOG: Final = 1024
"""Connections that wait for us to accept them."""


@dataclass(frozen=True, slots=True)
class Running:
    """A proxy that takes requests. Addresses have the ports that were really bound."""

    listen: Address
    admin: Address | None
    health: ServiceHealth
    tls: ListenerTls | None = None


@contextlib.asynccontextmanager
async def running(config: Config, shared: socket.socket | None = None) -> AsyncIterator[Running]:
    """Run a proxy for the time of the context.

    ``shared`` is a socket that listens already and that other workers accept from too.

    On the way out it first stops to accept, lets running requests finish for ``shutdown_grace`` seconds, and
    then closes the registry's and Redis' connections.

    Raises:
        StartError: a listener cannot be bound, a file of keys, certificates or secrets cannot be used, or
            tracing is configured and cannot be had.
    """
    async with contextlib.AsyncExitStack() as stack:
        try:
            await stack.enter_async_context(tracing(config.tracing))
        except TracingError as error:
            raise StartError(str(error)) from None
        redis = await _redis(stack, config.cache)
        tls = listener_tls(config)
        # It takes a while, in which a probe of the admin listener must not be told that requests are welcome.
        bodies = await stack.enter_async_context(
            Bodies.open(config.blobs.relay, has_files=config.edge.directory is not None)
        )
        registries = await _registries(stack, config, bodies)
        edge = registries[0].edge
        asked = {one.name: one.upstream for one in registries}
        health = ServiceHealth(
            await stack.enter_async_context(Readiness.open(asked, config.ready_when)),
            redis,
            names=[one.config.upstream.name for one in registries],
            is_edge=edge is not None,
        )
        memory = MemoryStore(config.cache.memory)
        disk = None if edge is None else edge.store.records
        store = TieredStore(memory, redis, disk=disk, failover=config.cache.redis_failover)
        cutting = [cutting_parts(one, store) for one in registries]
        answering = dispatcher(config, cutting=cutting, bodies=bodies)
        admin = None
        if config.admin is not None and shared is None:  # the parent answers for workers
            prefetch = await _prefetch(stack, config, cutting)
            admin = await serve_admin(stack, Admin(health.live, health.ready, _state, prefetch), config.admin)
        _watch(stack, answering, memory, redis)
        listener = Listener(
            answering,
            keepalive_timeout=config.client.keepalive_timeout,
            header_timeout=config.limits.header_timeout,
            connections=ClientConnections(config.limits.connections),
            tls=tls.context if tls else None,
        )
        runner = web.ServerRunner(listener, shutdown_timeout=_LAST_WORDS)
        if tls is not None:
            await stack.enter_async_context(tls.watched())
        listen = await _serve(stack, runner, config.listen, "public", shared)
        try:
            yield Running(listen, admin, health, tls)
        finally:
            health.is_stopping = True
            if shared is not None:
                # asyncio drops a connection that it accepted in the very turn in which a server closes.
                asyncio.get_running_loop().remove_reader(shared)
                await asyncio.sleep(_ONE_TURN)
            for site in runner.sites.copy():
                await site.stop()
            if shared is not None:
                await asyncio.sleep(_FIRST_REQUESTS)
            listener.pre_shutdown()  # idle connections close now, busy ones after their request
            await answering.finish(config.shutdown_grace)


async def _redis(stack: contextlib.AsyncExitStack, config: CacheConfig) -> RedisStore | None:
    """Use Redis for the time of ``stack``, there already or not; None where none is configured."""
    if not config.redis_url.get_secret_value():
        return None
    from proxy.store.clients import RedisFileError  # noqa: PLC0415 - a third of the start of those without
    from proxy.store.redis import RedisStore  # noqa: PLC0415
    from proxy.store.replies import obstacle  # noqa: PLC0415

    if (reason := await obstacle(config)) is not None:
        raise StartError(f"{reason}; install the version of requirements.lock, or unset cache.redis_url")
    try:
        return await stack.enter_async_context(RedisStore.connect(config))
    except RedisFileError as error:
        raise StartError(str(error)) from None


async def _registries(stack: contextlib.AsyncExitStack, config: Config, bodies: Bodies) -> Sequence[OpenRegistry]:
    """Open the registries behind the proxy for the time of ``stack``, the default one first.

    Raises:
        StartError: the files that the configuration names cannot be used.
    """
    opened: dict[str, tuple[Config, Upstream, RealmPolicy, Authenticator]] = {}
    for name, one in registries(config).items():
        admits = authenticator(one, name)
        realms = RealmPolicy(one.upstream.urls, one.auth.realm_hosts)
        with registry_named(name):
            upstream = await stack.enter_async_context(Upstream.connect(one.upstream, one.blobs, realms, name))
        opened[name] = one, upstream, realms, admits
        catalogue.begin_counting(name)
    edge = await _edge(stack, config, {name: (one, upstream) for name, (one, upstream, *_) in opened.items()}, bodies)
    return [OpenRegistry(name, *parts, edge) for name, parts in opened.items()]


async def _edge(
    stack: contextlib.AsyncExitStack,
    config: Config,
    upstreams: Mapping[str, tuple[Config, Upstream]],
    bodies: Bodies,
) -> EdgeNode | None:
    """Open the directory of an edge node for the time of ``stack``; None where none is configured."""
    if config.edge.directory is None:
        return None
    from proxy.edge.disk.directory import EdgeError  # noqa: PLC0415 - those without start sooner
    from proxy.edge.node import EdgeNode  # noqa: PLC0415

    try:
        return await stack.enter_async_context(EdgeNode.open(config, upstreams, borrows=bodies.borrows))
    except EdgeError as error:
        raise StartError(str(error)) from None


async def _prefetch(
    stack: contextlib.AsyncExitStack, config: Config, cutting: Sequence[CuttingParts]
) -> PrefetchEndpoint | None:
    """Take orders for images for the time of ``stack``; None where this is no edge node."""
    edge = cutting[0].registry.edge
    if edge is None:
        return None
    from proxy.edge.disk.directory import EdgeError  # noqa: PLC0415 - as in _edge
    from proxy.prefetch.service import PrefetchedRegistry, prefetching  # noqa: PLC0415

    registries = {
        one.registry.name: PrefetchedRegistry(
            one.registry.config, one.partitions, one.contents, one.plain, one.registry.realms
        )
        for one in cutting
    }
    try:
        return await stack.enter_async_context(prefetching(config.edge, edge, registries))
    except EdgeError as error:
        raise StartError(str(error)) from None


async def parent_prefetch(stack: contextlib.AsyncExitStack, config: Config) -> PrefetchEndpoint | None:
    """Take orders for images for the time of ``stack`` beside workers, which follow the files that jobs write.

    Raises:
        StartError: the directory or the registry's settings cannot be used.
    """
    if config.edge.directory is None:
        return None
    bodies = await stack.enter_async_context(Bodies.open(config.blobs.relay))
    opened = await _registries(stack, config, bodies)
    disk = None if opened[0].edge is None else opened[0].edge.store.records
    store = TieredStore(MemoryStore(config.cache.memory), None, disk=disk, failover=config.cache.redis_failover)
    return await _prefetch(stack, config, [cutting_parts(one, store) for one in opened])


async def run(config: Config) -> None:
    """Run a proxy until SIGTERM or SIGINT; a second one ends it at once.

    Raises:
        StartError: it cannot start.
    """
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    signals = (signal.SIGTERM, signal.SIGINT)
    for number in signals:
        loop.add_signal_handler(number, stop.set)
    loop.add_signal_handler(signal.SIGHUP, _reload, None)
    await rehearse_protections()
    async with running(config) as started:
        loop.add_signal_handler(signal.SIGHUP, _reload, started.tls)
        await stop.wait()
        for number in signals:
            loop.remove_signal_handler(number)
        get_logger().info("stopping", grace_seconds=config.shutdown_grace)
    get_logger().info("stopped")


def _reload(tls: ListenerTls | None) -> None:
    """Read the certificates again, which is all that can be: there is no other process to take over."""
    if tls is not None:
        tls.reload()
    get_logger().warning(
        "not reloaded", reason="with workers = 1 SIGHUP reads certificates alone again; restart for the rest"
    )


def _watch(
    stack: contextlib.AsyncExitStack, dispatcher: Dispatcher, memory: MemoryStore, redis: RedisStore | None
) -> None:
    """Let the metrics see values that only the parts know, for the time of ``stack``."""
    stack.enter_context(catalogue.process())
    stack.enter_context(dispatcher.measured())
    stack.enter_context(catalogue.MEMORY_BYTES.read_from(lambda: memory.used_bytes))
    stack.enter_context(catalogue.WORKERS.read_from(lambda: 1))
    if redis is not None:
        stack.enter_context(catalogue.REDIS_UP.read_from(lambda: redis.is_available))
        stack.enter_context(catalogue.BREAKER_OPEN.read_from(lambda: not redis.is_available, "redis"))


async def _state() -> Snapshot:
    return snapshot()


async def serve_admin(stack: contextlib.AsyncExitStack, admin: Admin, address: Address) -> Address:
    """Answer health and metrics for the time of ``stack``; returns the address with its real port.

    Raises:
        StartError: the address cannot be bound.
    """
    return await _serve(stack, web.AppRunner(admin.application(), access_log=None), address, "admin")


async def _serve(
    stack: contextlib.AsyncExitStack,
    runner: web.BaseRunner,
    address: Address,
    name: str,
    shared: socket.socket | None = None,
) -> Address:
    """Bind ``address`` for the time of ``stack``, or take the ``shared`` socket; return it with its port."""
    await runner.setup()
    stack.push_async_callback(runner.cleanup)
    if shared is not None:
        # One connection for each turn of the loop: a busy worker leaves the others to idle ones.
        await web.SockSite(runner, shared, backlog=1).start()
        return Address(address.host, runner.addresses[0][1])
    try:
        if address.takes_both_families:  # asyncio would take the one alone
            both = socket.create_server(
                ("::", address.port), family=socket.AF_INET6, backlog=BACKLOG, dualstack_ipv6=True
            )
            await web.SockSite(runner, both, backlog=BACKLOG).start()
        else:
            await web.TCPSite(runner, address.host, address.port, backlog=BACKLOG).start()
    except OSError as error:
        problem = error.strerror or str(error)
        raise StartError(f"cannot listen on {address} ({name}): {problem}") from None
    bound = Address(address.host, runner.addresses[0][1])
    get_logger().info("listening", listener=name, address=str(bound))
    return bound
