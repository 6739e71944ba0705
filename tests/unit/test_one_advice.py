"""What is said in several places is said alike."""

import re
from pathlib import Path

import pytest

from proxy.config import CacheConfig
from proxy.doctor.redis import POLICY
from proxy.store.redis import canary_seconds

ROOT = Path(__file__).parents[2]
POLICIES = re.compile(r"(?:volatile|allkeys)-(?:lru|lfu|ttl|random)|noeviction")


@pytest.mark.parametrize(
    "place",
    [
        "deploy/compose.yaml",
        "helm/twodfs-proxy/templates/redis/redis.yaml",
        "docs/deployment.md",
        "docs/operations.md",
    ],
)
def test_one_policy_is_advised_for_a_full_redis(place: str) -> None:
    lines = (ROOT / place).read_text(encoding="utf-8").splitlines()
    told = [line for line in lines if not line.lstrip().startswith("|") or "maxmemory-policy volatile" in line]
    assert {one for line in told for one in POLICIES.findall(line)} == {POLICY}


def test_what_a_full_redis_drops_last_by_that_policy_is_what_cannot_be_made_again() -> None:
    config = CacheConfig()
    assert POLICY == "volatile-ttl", "drops what expires first"
    assert canary_seconds(config) >= config.recipe_days * 86_400 > config.ttl


@pytest.mark.parametrize("place", ["README.md", "docs", "proxy", "twodfs"])
def test_one_way_of_logging_in_is_told(place: str) -> None:
    top = ROOT / place
    files = [top] if top.is_file() else [one for one in top.rglob("*") if one.suffix in (".md", ".py")]
    for file in files:
        text = " ".join(file.read_text(encoding="utf-8").split())
        ways = re.findall(r"(.{0,18})[`']docker login", text)
        assert all(re.search(r"[`']twodfs login[`'] or $", before) for before in ways), f"{file}: {ways}"
