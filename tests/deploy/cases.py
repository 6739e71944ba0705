"""The matrix of values that the chart's tests go over, and what Helm makes of each."""

import tomllib
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from tests.lab import helm
from tests.lab.helm import CHART, Manifest

CASES = tuple(sorted(file.name.removesuffix("-values.yaml") for file in (CHART / "ci").iterdir()))
# Of Kubernetes: the oldest that the chart takes, one between, and the newest.
VERSIONS = ("1.30", "1.34", "1.37")
WORKLOADS = ("Deployment", "StatefulSet", "DaemonSet")
"""What makes pods of the proxy: a Deployment, or for edge nodes one of the others."""
UPSTREAM = "config.upstream.url=http://registry:5000"
"""The one value that has no default."""


def values_of(case: str) -> Path:
    return CHART / "ci" / f"{case}-values.yaml"


@cache
def rendered(case: str, kubernetes: str = VERSIONS[-1]) -> str:
    return helm.template(values_of(case), kubernetes=kubernetes)


def manifests(case: str) -> list[Manifest]:
    return helm.manifests(rendered(case))


def proxy(rendered: Sequence[Manifest]) -> Manifest:
    """Return what makes the pods of the proxy."""
    (found,) = (
        one
        for one in rendered
        if one["kind"] in WORKLOADS and one["metadata"]["labels"]["app.kubernetes.io/component"] == "proxy"
    )
    return found


def configuration(case: str) -> dict[str, Any]:
    return written(manifests(case))


def written(rendered: Sequence[Manifest]) -> dict[str, Any]:
    """Return the configuration in the ConfigMap."""
    (found,) = (one for one in rendered if one["kind"] == "ConfigMap" and "config.toml" in one.get("data", {}))
    return tomllib.loads(found["data"]["config.toml"])


class UniqueKeys(yaml.SafeLoader):
    """YAML lets a later key replace an earlier one in silence, which hides a template's mistake."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:  # noqa: FBT001, FBT002
        keys = [self.construct_object(key) for key, _ in node.value]
        assert len(keys) == len(set(keys)), f"a key twice among {keys}"
        return super().construct_mapping(node, deep)
