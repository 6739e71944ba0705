"""The parts of the proxy, put together for one configuration."""

from __future__ import annotations

from collections.abc import Sequence
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
from proxy.handlers.dispatcher import Dispatcher, ServedRegistry, table_of_kinds
from proxy.handlers.headers import LocationRewriter
from proxy.handlers.push import PushCompletion
from proxy.handlers.relay import Relay
from proxy.handlers.remembered import RememberingRelay
from proxy.handlers.token import TokenHandler
from proxy.logs import get_logger
from proxy.partitions.content import Contents
from proxy.partitions.cutting import Cutter
from proxy.partitions.lookalikes import Lookalikes
from proxy.partitions.plain import PlainTags
from proxy.partitions.policy import SourcePolicy
from proxy.partitions.source import Sources
from proxy.partitions.synthesis import Partitions
from proxy.preflight import signer, source_keys
from proxy.repository import DEFAULT_UPSTREAM
from proxy.requests.choice import RegistryChoice, known_as
from proxy.signing.attached import AttachedDocuments
from proxy.signing.signatures import Signatures
from proxy.store.tiered import TieredStore
from proxy.tags.names import NamesOfTags
from proxy.tags.tag_list import TagList
from proxy.upstream.referrers import Referrers
from proxy.upstream.registry import Upstreams
from proxy.upstream.upstream import Upstream
from proxy.wire.connections import room_for

if TYPE_CHECKING:
    from proxy.edge.node import EdgeNode
    from proxy.handlers.edge import EdgeContent


@dataclass(frozen=True, slots=True)
class OpenRegistry:
    """A registry behind the proxy, opened.

    Attributes:
        name: as ``Repository.upstream`` has it.
        config: the settings, as if it were the only one.
        upstream: the way to it.
        realms: guards credentials on their way to its token server.
        authenticator: lets clients in.
        edge: the disk of an edge node; None where nothing is kept on disk.
    """

    name: str
    config: Config
    upstream: Upstream
    realms: RealmPolicy
    authenticator: Authenticator
    edge: EdgeNode | None


@dataclass(frozen=True, slots=True)
class CuttingParts:
    """What it takes to cut partitions of the images in one registry; nothing of it is another registry's."""

    registry: OpenRegistry
    upstreams: Upstreams
    store: TieredStore
    sources: Sources
    contents: Contents
    referrers: Referrers
    cutter: Cutter
    partitions: Partitions
    plain: PlainTags | None


def cutting_parts(registry: OpenRegistry, store: TieredStore) -> CuttingParts:
    """Return what cuts partitions of images in ``registry``, or of their copies on the disk of an edge node.

    Raises:
        StartError: a file of keys cannot be used.
    """
    config, edge = registry.config, registry.edge
    upstreams: Upstreams = {registry.name: registry.upstream if edge is None else edge.registries[registry.name]}
    grants = Grants(config.auth.ttl) if edge is None else edge.grants[registry.name]
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
    partitions = Partitions(cutter, sources, store)
    selection = config.partition.plain_selection
    plain = None if selection is None else PlainTags(cutter, partitions, selection)
    return CuttingParts(registry, upstreams, store, sources, contents, referrers, cutter, partitions, plain)


def dispatcher(config: Config, *, cutting: Sequence[CuttingParts], bodies: Bodies) -> Dispatcher:
    """Return what answers every request that reaches the public listener.

    Args:
        config: the settings.
        cutting: cuts partitions, for each of the registries.
        bodies: carries bodies in both directions.

    Raises:
        StartError: a file of keys or passwords cannot be used.
    """
    clients = ClientAddresses(config.trusted_proxies, config.public_url)
    registries = {one.registry.name: one.registry.config.upstream for one in cutting}
    # One that hangs holds its share of the connections, and others theirs.
    share = max(1, room_for(config.limits.connections) // len(cutting))
    return Dispatcher(
        {
            one.registry.name: _served(one, clients, bodies, RequestLimits(config.limits, connections=share))
            for one in cutting
        },
        RegistryChoice(registries),
        clients=clients,
        access_log=AccessLog(config),
        client_timeout=config.client.idle_timeout,
    )


def _served(cutting: CuttingParts, clients: ClientAddresses, bodies: Bodies, limits: RequestLimits) -> ServedRegistry:
    name, config = cutting.registry.name, cutting.registry.config
    upstream, edge = cutting.registry.upstream, cutting.registry.edge
    realms = Realms(cutting.registry.realms) if config.auth.realm == "proxy" else None
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
        else RememberingRelay(upstream, edge.registries[name], locations, bodies)
    )
    attached = _attached(config, cutting)
    lookalikes = Lookalikes(cutting.sources, cutting.cutter)
    routes = table_of_kinds(
        relay=relay,
        sources=cutting.sources,
        partitions=cutting.partitions,
        lookalikes=lookalikes,
        attached=attached,
        completion=PushCompletion(cutting.upstreams, cutting.partitions, attached, locations),
        tokens=None if realms is None else _tokens(cutting.registry, realms),
        locations=locations,
        max_manifest=config.limits.manifest_body,
        edge=None if edge is None else _edge_content(name, edge, locations),
        tags=_tag_list(cutting) if config.upstream.list_partitions else None,
        plain=cutting.plain,
    )
    return ServedRegistry(routes, cutting.registry.authenticator, locations, config.upstream.read_timeout, limits)


def _tag_list(cutting: CuttingParts) -> TagList:
    return TagList(cutting.upstreams, NamesOfTags(cutting.sources, cutting.cutter, cutting.store).of)


def _slots(limits: LimitsConfig) -> Slots:
    return Slots(limits.cuts, limits.queued_cuts, "too many partitions wait to be cut; try again")


def _attached(config: Config, cutting: CuttingParts) -> AttachedDocuments | None:
    key = signer(config.signing)
    if key is None:
        return None
    registry = config.signing.registry or urlsplit(config.public_url or config.upstream.urls[0]).netloc
    if cutting.registry.name != DEFAULT_UPSTREAM:
        # Under one name, a signature for a repository of this one would be one for that of another registry.
        registry = known_as(config.upstream)
    get_logger().info("partitions are signed", key=key.public_key.fingerprint, registry=registry)
    signatures = Signatures(cutting.partitions, cutting.store, key, registry=registry)
    return AttachedDocuments(cutting.upstreams, cutting.referrers, cutting.partitions, signatures)


def _edge_content(name: str, edge: EdgeNode, locations: LocationRewriter) -> EdgeContent:
    from proxy.handlers.edge import EdgeContent  # noqa: PLC0415 - those without start sooner

    registry = edge.registries[name]
    return EdgeContent(
        registry, store=edge.store, fills=edge.fills, grants=edge.grants[name], names=edge.names, locations=locations
    )


def _tokens(registry: OpenRegistry, realms: Realms) -> TokenHandler:
    offline, config = None, registry.config
    if registry.edge is not None:
        from proxy.edge.offline.token_server import OfflineTokenServer  # noqa: PLC0415 - as above

        offline = OfflineTokenServer(registry.edge.registries[registry.name], patience=config.edge.offline_after)
    return TokenHandler(registry.upstream, realms, timeout=config.upstream.metadata_timeout, offline=offline)
