"""Wiring and lifetimes: what is opened in which order, and closed in the reverse one."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

from aiohttp import web

from proxy.admin import Health
from proxy.clients import Clients
from proxy.config import Address, Config, SigningConfig
from proxy.connections import Connections
from proxy.content import Contents
from proxy.credentials import CredentialsError
from proxy.door import Door, Entrance, PassThrough
from proxy.exchange import TokenEndpoint
from proxy.grants import Grants
from proxy.handlers import Handlers
from proxy.headers import Origins
from proxy.limits import Requests, Slots
from proxy.logs import get_logger
from proxy.passwords import Passwords
from proxy.policy import SourcePolicy
from proxy.realm import RealmPolicy, Realms
from proxy.relay import Relay
from proxy.server import Listener, PatientSite
from proxy.signatures import Signatures
from proxy.signer import FileSigner, KeyFileError, load_public_key
from proxy.source import Sources
from proxy.store.memory import MemoryStore
from proxy.store.redis import RedisStore
from proxy.store.tiered import TieredStore
from proxy.synthesis import Partitions
from proxy.tls import CertificateError, ListenerTls
from proxy.tokens import Verifier
from proxy.upstream import Upstream
from proxy.watched import FileError

# Seconds for what is left after the grace: cancelled requests say goodbye, then connections are cut.
_LAST_WORDS: Final = 0.5


class StartError(Exception):
    """The proxy cannot start; the message says what to change."""


@dataclass(frozen=True, slots=True)
class Running:
    """A proxy that takes requests. Addresses have the ports that were really bound."""

    listen: Address
    admin: Address | None
    tls: ListenerTls | None = None


@contextlib.asynccontextmanager
async def running(config: Config) -> AsyncIterator[Running]:
    """Run a proxy for the time of the context.

    On the way out it first stops to accept, lets running requests finish for ``shutdown_grace`` seconds, and
    then closes the registry's and Redis' connections.

    Raises:
        StartError: a listener cannot be bound, or a file of keys, certificates or secrets cannot be used.
    """
    header_timeout = config.limits.header_timeout
    async with contextlib.AsyncExitStack() as stack:
        redis = None
        if config.cache.redis_url.get_secret_value():
            redis = await stack.enter_async_context(RedisStore.connect(config.cache))
        realms = RealmPolicy(config.upstream.url, config.auth.realm_hosts)
        entrance = _entrance(config)
        try:
            tls = ListenerTls(config.tls) if config.tls.certificate else None
            upstream = await stack.enter_async_context(
                Upstream.connect(config.upstream, config.blobs, realms)
            )
        except (CertificateError, CredentialsError) as error:
            raise StartError(str(error)) from None
        health = Health(upstream, redis)
        admin = None
        if config.admin is not None:
            admin_runner = web.AppRunner(health.application(), access_log=None)
            admin = await _serve(stack, admin_runner, config.admin, "admin", header_timeout=header_timeout)
        store = TieredStore(MemoryStore(config.cache.memory), redis)
        handlers = _handlers(config, entrance, upstream, realms, store)
        listener = Listener(
            handlers,
            keepalive_timeout=config.client.keepalive_timeout,
            header_timeout=header_timeout,
            connections=Connections(config.limits.connections),
        )
        runner = web.ServerRunner(listener, shutdown_timeout=_LAST_WORDS)
        if tls is not None:
            await stack.enter_async_context(tls.watched())
        listen = await _serve(stack, runner, config.listen, "public", tls=tls, header_timeout=header_timeout)
        try:
            yield Running(listen, admin, tls)
        finally:
            health.is_stopping = True
            for site in runner.sites.copy():
                await site.stop()
            listener.pre_shutdown()  # idle connections close now, busy ones after their request
            await handlers.finish(config.shutdown_grace)


async def run(config: Config) -> None:
    """Run a proxy until SIGTERM or SIGINT; a second one ends it at once."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    signals = (signal.SIGTERM, signal.SIGINT)
    for number in signals:
        loop.add_signal_handler(number, stop.set)
    async with running(config) as started:
        if started.tls is not None:
            loop.add_signal_handler(signal.SIGHUP, started.tls.reload)
        await stop.wait()
        for number in signals:
            loop.remove_signal_handler(number)
        get_logger().info("stopping", grace_seconds=config.shutdown_grace)
    get_logger().info("stopped")


def _entrance(config: Config) -> Entrance:
    auth = config.auth
    try:
        verifier = Verifier(auth.token) if auth.token.keys else None
        if not config.is_door:
            return PassThrough(verifier)
        return Door(auth, verifier, Passwords(auth.clients.htpasswd) if auth.clients.htpasswd else None)
    except FileError as error:
        raise StartError(str(error)) from None


def _handlers(
    config: Config, entrance: Entrance, upstream: Upstream, realm_policy: RealmPolicy, store: TieredStore
) -> Handlers:
    realms = Realms(realm_policy) if config.auth.realm == "proxy" else None
    clients = Clients(config.trusted_proxies, config.public_url)
    origins = Origins(
        config.upstream.url, clients, config.upstream.host, realms=realms, is_door=config.is_door
    )
    relay = Relay(
        upstream,
        origins,
        client_timeout=config.client.idle_timeout,
        upstream_timeout=config.upstream.read_timeout,
    )
    sources = Sources(upstream, Grants(config.auth.ttl), tag_ttl=config.cache.tag_ttl)
    contents = Contents(upstream, store, max_field=config.partition.max_field)
    slots = Slots(config.limits.cuts, config.limits.queued_cuts)
    try:
        partitions = Partitions(
            contents,
            sources,
            store,
            max_layers=config.partition.max_layers,
            slots=slots,
            policy=_policy(config.signing, upstream),
        )
        signatures = _signatures(config, upstream, partitions, store)
    except KeyFileError as error:
        raise StartError(str(error)) from None
    tokens = TokenEndpoint(upstream, realms, timeout=config.upstream.metadata_timeout) if realms else None
    return Handlers(
        entrance=entrance,
        relay=relay,
        sources=sources,
        partitions=partitions,
        origins=origins,
        signatures=signatures,
        tokens=tokens,
        requests=Requests(config.limits),
        max_manifest=config.limits.manifest_body,
        client_timeout=config.client.idle_timeout,
    )


def _policy(config: SigningConfig, upstream: Upstream) -> SourcePolicy | None:
    if not config.require_source_signature:
        return None
    keys = [load_public_key(file) for file in config.source_keys]
    return SourcePolicy(upstream, keys, ttl=config.source_ttl)


def _signatures(
    config: Config, upstream: Upstream, partitions: Partitions, store: TieredStore
) -> Signatures | None:
    if config.signing.key is None:
        return None
    signer = FileSigner.load(config.signing.key)
    registry = config.signing.registry or urlsplit(config.public_url or config.upstream.url).netloc
    get_logger().info("partitions are signed", key=signer.public_key.fingerprint, registry=registry)
    return Signatures(upstream, partitions, store, signer, registry=registry)


async def _serve(
    stack: contextlib.AsyncExitStack,
    runner: web.BaseRunner,
    address: Address,
    name: str,
    *,
    tls: ListenerTls | None = None,
    header_timeout: float,
) -> Address:
    """Bind ``address`` for the time of ``stack`` and return it with its real port."""
    await runner.setup()
    stack.push_async_callback(runner.cleanup)
    try:
        await PatientSite(
            runner,
            address.host,
            address.port,
            backlog=1024,
            ssl_context=tls.context if tls else None,
            handshake_timeout=header_timeout,
        ).start()
    except OSError as error:
        problem = error.strerror or str(error)
        raise StartError(f"cannot listen on {address} ({name}): {problem}") from None
    bound = Address(address.host, runner.addresses[0][1])
    get_logger().info("listening", listener=name, address=str(bound))
    return bound
