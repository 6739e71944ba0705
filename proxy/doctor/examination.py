"""All checks, in the order in which they depend on each other."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator, Mapping

from proxy.auth.credentials import CredentialsError
from proxy.auth.realm import RealmPolicy
from proxy.config import Config
from proxy.doctor.client import RegistryProbe
from proxy.doctor.edge import check_edge
from proxy.doctor.finding import Finding, Level, problem, skipped
from proxy.doctor.host import check_host
from proxy.doctor.image import ImageProbe, check_image
from proxy.doctor.network import check_network
from proxy.doctor.redis import check_redis
from proxy.doctor.registry import check_registry
from proxy.doctor.settings import check_settings
from proxy.logs import redacted
from proxy.preflight import registries
from proxy.upstream.upstream import Upstream
from proxy.wire.tls import CertificateError
from twodfs.errors import UsageError


async def examine(config: Config, probe: ImageProbe | None, registry: str = "") -> list[Finding]:
    """Return the findings, from the settings outward.

    Args:
        config: the settings.
        probe: an image, of ``registry`` or else of the default one; None leaves out its checks.
        registry: of several, the only one that is asked; empty for all.
    """
    findings: list[Finding] = []
    with _failures_reported("the settings", findings):
        findings += check_settings(config)
    with _failures_reported("this machine", findings):
        findings += check_host(config)
    with _failures_reported("the edge directory", findings):
        findings += await asyncio.to_thread(check_edge, config.edge)
    with _failures_reported("Redis", findings):
        findings += await check_redis(config.cache, is_edge=config.edge.directory is not None)
    for name, one in examined(config, registry).items():
        found: list[Finding] = []
        with _failures_reported("the registry", found):
            await _registry(one, probe if registry or one is config else None, found)
        findings += [finding.of(name) for finding in found] if config.upstreams else found
    return findings


def examined(config: Config, registry: str) -> Mapping[str, Config]:
    """Return the registries that are to be asked, by their names, each with the settings as if it were the only one.

    Raises:
        UsageError: there is none with the name ``registry``.
    """
    everyone = {one.upstream.name: one for one in registries(config).values()}
    if not registry:
        return everyone
    if registry not in everyone:
        names = ", ".join(sorted(filter(None, everyone))) or "there is one, which has no name"
        raise UsageError(f"--registry {registry!r} is none of those in the configuration: {names}")
    return {registry: everyone[registry]}


@contextlib.contextmanager
def _failures_reported(to: str, findings: list[Finding]) -> Iterator[None]:
    """Make a finding of an error that no check has thought of; the findings until then stay."""
    try:
        yield
    except Exception as error:  # noqa: BLE001 - a doctor must not crash
        findings.append(
            problem(
                "doctor",
                f"looking at {to} failed: {redacted(f'{type(error).__name__}: {error}')}",
                "this is a bug of the doctor's: report it with this line. What caused it may be odd as well",
            )
        )


async def _registry(config: Config, probe: ImageProbe | None, findings: list[Finding]) -> None:
    found = await check_network(config.upstream)
    findings += found
    if any(finding.level is Level.PROBLEM for finding in found):
        findings.append(skipped("api", "without a connection nothing more can be said of the registry"))
        return
    try:
        await _api(config, probe, findings)
    except (CertificateError, CredentialsError) as error:
        findings.append(problem("settings", str(error), "correct it: the proxy does not start like this"))


async def _api(config: Config, probe: ImageProbe | None, findings: list[Finding]) -> None:
    realms = RealmPolicy(config.upstream.urls, config.auth.realm_hosts)
    # Redirects are looked at, not followed.
    passed = config.blobs.model_copy(update={"redirect": "pass"})
    async with Upstream.connect(config.upstream, passed, realms) as upstream:
        registry = RegistryProbe(upstream, config.upstream)
        found, ping = await check_registry(registry)
        findings += found
        if ping is None:
            return
        if probe is None:
            left = "give --repository and --tag to have HEAD, digests, redirects and Range looked at"
            findings.append(skipped("image", left))
            return
        async for finding in check_image(registry, probe):
            findings.append(finding)
