"""Wiring and lifetimes: what is opened in which order, and closed in the reverse one."""

from __future__ import annotations

import asyncio
import contextlib
import resource
import signal
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Final

from aiohttp import web

from proxy.admin import Health
from proxy.bodies import Bodies, Counts
from proxy.config import Address, Config
from proxy.content import Contents
from proxy.handlers import Handlers
from proxy.headers import Origins
from proxy.logs import get_logger
from proxy.relay import Relay
from proxy.server import Listener
from proxy.source import Sources
from proxy.store.memory import MemoryStore
from proxy.store.redis import RedisStore
from proxy.store.tiered import TieredStore
from proxy.synthesis import Partitions
from proxy.upstream import Upstream

_MOST_FILES: Final = 2**20
# Seconds for what is left after the grace: cancelled requests say goodbye, then connections are cut.
_LAST_WORDS: Final = 0.5


class StartError(Exception):
    """The proxy cannot start; the message says what to change."""


@dataclass(frozen=True, slots=True)
class Running:
    """A proxy that takes requests. Addresses have the ports that were really bound."""

    listen: Address
    admin: Address | None
    carried: Counts


@contextlib.asynccontextmanager
async def running(config: Config) -> AsyncIterator[Running]:
    """Run a proxy for the time of the context.

    On the way out it first stops to accept, lets running requests finish for ``shutdown_grace`` seconds, and
    then closes the registry's and Redis' connections.

    Raises:
        StartError: a listener cannot be bound.
    """
    async with contextlib.AsyncExitStack() as stack:
        redis = None
        if config.cache.redis_url.get_secret_value():
            redis = await stack.enter_async_context(RedisStore.connect(config.cache))
        upstream = await stack.enter_async_context(Upstream.connect(config.upstream))
        health = Health(upstream, redis)
        admin = None
        if config.admin is not None:
            admin_runner = web.AppRunner(health.application(), access_log=None)
            admin = await _serve(stack, admin_runner, config.admin, "admin")
        bodies = stack.enter_context(Bodies.open(config.blobs.relay))
        handlers = _handlers(config, upstream, bodies, TieredStore(MemoryStore(config.cache.memory), redis))
        listener = Listener(handlers, keepalive_timeout=config.client.keepalive_timeout)
        runner = web.ServerRunner(listener, shutdown_timeout=_LAST_WORDS)
        listen = await _serve(stack, runner, config.listen, "public")
        try:
            yield Running(listen, admin, bodies.counts)
        finally:
            health.is_stopping = True
            for site in runner.sites.copy():
                await site.stop()
            listener.pre_shutdown()  # idle connections close now, busy ones after their request
            await handlers.finish(config.shutdown_grace)


async def run(config: Config) -> None:
    """Run a proxy until SIGTERM or SIGINT; a second one ends it at once."""
    _allow_many_files()
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    signals = (signal.SIGTERM, signal.SIGINT)
    for number in signals:
        loop.add_signal_handler(number, stop.set)
    async with running(config):
        await stop.wait()
        for number in signals:
            loop.remove_signal_handler(number)
        get_logger().info("stopping", grace_seconds=config.shutdown_grace)
    get_logger().info("stopped")


def _allow_many_files() -> None:
    """Raise the limit of open files to what may be: a relayed download takes two, a spliced one six."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _MOST_FILES if hard == resource.RLIM_INFINITY else min(hard, _MOST_FILES)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def _handlers(config: Config, upstream: Upstream, bodies: Bodies, store: TieredStore) -> Handlers:
    origins = Origins(config.upstream.url, config.public_url)
    relay = Relay(
        upstream,
        origins,
        bodies,
        client_timeout=config.client.idle_timeout,
        upstream_timeout=config.upstream.read_timeout,
    )
    sources = Sources(upstream, tag_ttl=config.cache.tag_ttl)
    contents = Contents(upstream, store, max_field=config.partition.max_field)
    partitions = Partitions(contents, sources, store, max_layers=config.partition.max_layers)
    return Handlers(relay, sources, partitions, origins)


async def _serve(
    stack: contextlib.AsyncExitStack, runner: web.BaseRunner, address: Address, name: str
) -> Address:
    """Bind ``address`` for the time of ``stack`` and return it with its real port."""
    await runner.setup()
    stack.push_async_callback(runner.cleanup)
    try:
        await web.TCPSite(runner, address.host, address.port, backlog=1024).start()
    except OSError as error:
        problem = error.strerror or str(error)
        raise StartError(f"cannot listen on {address} ({name}): {problem}") from None
    bound = Address(address.host, runner.addresses[0][1])
    get_logger().info("listening", listener=name, address=str(bound))
    return bound
