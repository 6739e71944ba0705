"""All checks, in the order in which they depend on each other."""

from __future__ import annotations

from proxy.auth.realm import RealmPolicy
from proxy.config import Config
from proxy.doctor.client import Patient
from proxy.doctor.finding import Finding, Level, skipped
from proxy.doctor.host import check_host
from proxy.doctor.image import Probe, check_image
from proxy.doctor.network import check_network
from proxy.doctor.redis import check_redis
from proxy.doctor.registry import check_registry
from proxy.doctor.settings import check_settings
from proxy.upstream.registry import Upstream


async def examine(config: Config, probe: Probe | None) -> list[Finding]:
    """Return what is found, from the settings outward; ``probe`` None leaves out what needs an image."""
    findings = [*check_settings(config), *check_host(config), *await check_redis(config.cache)]
    return [*findings, *await _registry(config, probe)]


async def _registry(config: Config, probe: Probe | None) -> list[Finding]:
    findings = await check_network(config.upstream)
    if any(finding.level is Level.PROBLEM for finding in findings):
        return [*findings, skipped("api", "without a connection nothing more can be said of the registry")]
    realms = RealmPolicy(config.upstream.urls, config.auth.realm_hosts)
    # Redirects are looked at, not followed.
    passed = config.blobs.model_copy(update={"redirect": "pass"})
    async with Upstream.connect(config.upstream, passed, realms) as upstream:
        patient = Patient(upstream, config.upstream)
        found, heard = await check_registry(patient)
        findings += found
        if heard is None:
            return findings
        if probe is None:
            left = "give --repository and --tag to have HEAD, digests, redirects and Range looked at"
            return [*findings, skipped("image", left)]
        return [*findings, *await check_image(patient, probe)]
