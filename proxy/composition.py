"""The parts of the proxy, put together for one configuration."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from proxy.auth.access_control import Authenticator
from proxy.auth.grants import Grants
from proxy.auth.realm import RealmPolicy, Realms
from proxy.bodies.transit import Bodies
from proxy.clients.addresses import ClientAddresses
from proxy.clients.limits import RequestLimits, Slots
from proxy.config import Config, LimitsConfig
from proxy.handlers.access_log import AccessLog
from proxy.handlers.dispatcher import Dispatcher, table_of_kinds
from proxy.handlers.headers import LocationRewriter
from proxy.handlers.push import PushCompletion
from proxy.handlers.relay import Relay
from proxy.handlers.remembered import RememberingRelay
from proxy.handlers.token import TokenHandler
from proxy.logs import get_logger
from proxy.partitions.content import Contents
from proxy.partitions.cutting import Cutter
from proxy.partitions.lookalikes import Lookalikes
from proxy.partitions.policy import SourcePolicy
from proxy.partitions.source import Sources
from proxy.partitions.synthesis import Partitions
from proxy.preflight import signer, source_keys
from proxy.repository import DEFAULT_UPSTREAM
from proxy.signing.attached import AttachedDocuments
from proxy.signing.signatures import Signatures
from proxy.store.tiered import TieredStore
from proxy.upstream.referrers import Referrers
from proxy.upstream.registry import Upstreams
from proxy.upstream.upstream import Upstream

if TYPE_CHECKING:
    from proxy.edge.node import EdgeNode
    from proxy.handlers.edge import EdgeContent


@dataclass(frozen=True, slots=True)
class CuttingParts:
    """What it takes to cut partitions."""

    upstreams: Upstreams
    store: TieredStore
    sources: Sources
    contents: Contents
    referrers: Referrers
    cutter: Cutter
    partitions: Partitions


def cutting_parts(config: Config, upstream: Upstream, store: TieredStore, edge: EdgeNode | None) -> CuttingParts:
    """Return what cuts partitions of images in ``upstream``, or of their copies on the disk of an ``edge`` node.

    Raises:
        StartError: a file of keys cannot be used.
    """
    upstreams: Upstreams = {DEFAULT_UPSTREAM: upstream if edge is None else edge.registry}
    grants = Grants(config.auth.ttl) if edge is None else edge.grants
    sources = Sources(upstreams, grants, tag_ttl=config.cache.tag_ttl)
    contents = Contents(upstreams, store, max_field=config.partition.max_field)
    keys = source_keys(config.signing)
    referrers = Referrers(upstreams)
    cutter = Cutter(
        contents,
        max_layers=config.partition.max_layers,
        slots=_slots(config.limits),
        large_slots=_slots(config.limits),
        policy=SourcePolicy(upstreams, referrers, keys, ttl=config.signing.source_ttl) if keys else None,
    )
    return CuttingParts(upstreams, store, sources, contents, referrers, cutter, Partitions(cutter, sources, store))


def dispatcher(
    config: Config,
    *,
    authenticator: Authenticator,
    upstream: Upstream,
    realm_policy: RealmPolicy,
    bodies: Bodies,
    cutting: CuttingParts,
    edge: EdgeNode | None,
) -> Dispatcher:
    """Return what answers every request that reaches the public listener.

    Args:
        config: the settings.
        authenticator: lets clients in.
        upstream: the registry.
        realm_policy: guards credentials on their way to a token server.
        bodies: carries bodies in both directions.
        cutting: cuts partitions.
        edge: the disk of an edge node; None where nothing is kept on disk.

    Raises:
        StartError: a file of keys cannot be used.
    """
    realms = Realms(realm_policy) if config.auth.realm == "proxy" else None
    clients = ClientAddresses(config.trusted_proxies, config.public_url)
    locations = LocationRewriter(
        config.upstream.urls,
        clients,
        config.upstream.host,
        realms=realms,
        controls_access=config.controls_access,
    )
    relay = (
        Relay(upstream, locations, bodies)
        if edge is None
        else RememberingRelay(upstream, edge.registry, locations, bodies)
    )
    sources, partitions = cutting.sources, cutting.partitions
    attached = _attached(config, cutting)
    lookalikes = Lookalikes(sources, cutting.cutter)
    routes = table_of_kinds(
        relay=relay,
        sources=sources,
        partitions=partitions,
        lookalikes=lookalikes,
        attached=attached,
        completion=PushCompletion(cutting.upstreams, partitions, attached, locations),
        tokens=None if realms is None else _tokens(config, upstream, realms, edge),
        locations=locations,
        max_manifest=config.limits.manifest_body,
        edge=None if edge is None else _edge_content(edge, locations),
    )
    return Dispatcher(
        routes,
        authenticator=authenticator,
        limits=RequestLimits(config.limits),
        locations=locations,
        access_log=AccessLog(config),
        client_timeout=config.client.idle_timeout,
        upstream_timeout=config.upstream.read_timeout,
    )


def _slots(limits: LimitsConfig) -> Slots:
    return Slots(limits.cuts, limits.queued_cuts, "too many partitions wait to be cut; try again")


def _attached(config: Config, cutting: CuttingParts) -> AttachedDocuments | None:
    key = signer(config.signing)
    if key is None:
        return None
    registry = config.signing.registry or urlsplit(config.public_url or config.upstream.urls[0]).netloc
    get_logger().info("partitions are signed", key=key.public_key.fingerprint, registry=registry)
    signatures = Signatures(cutting.partitions, cutting.store, key, registry=registry)
    return AttachedDocuments(cutting.upstreams, cutting.referrers, cutting.partitions, signatures)


def _edge_content(edge: EdgeNode, locations: LocationRewriter) -> EdgeContent:
    from proxy.handlers.edge import EdgeContent  # noqa: PLC0415 - those without start sooner

    registries = {DEFAULT_UPSTREAM: edge.registry}
    return EdgeContent(
        registries, store=edge.store, fills=edge.fills, grants=edge.grants, names=edge.names, locations=locations
    )


def _tokens(config: Config, upstream: Upstream, realms: Realms, edge: EdgeNode | None) -> TokenHandler:
    offline = None
    if edge is not None:
        from proxy.edge.offline.token_server import OfflineTokenServer  # noqa: PLC0415 - as above

        offline = OfflineTokenServer(edge.registry, patience=config.edge.offline_after)
    return TokenHandler(upstream, realms, timeout=config.upstream.metadata_timeout, offline=offline)
