"""The chart as Helm renders it, over a matrix of values: schemas, golden files, security, references."""

import json
import os
from pathlib import Path
from typing import Any

import jsonschema
import kubernetes_validate
import pytest
import yaml

from tests.deploy.cases import CASES, VERSIONS, WORKLOADS, UniqueKeys, manifests, proxy, rendered, values_of
from tests.lab import helm

HERE = Path(__file__).parent
NODES_OWN = "edge-nodes"
"""The one case that is not restricted: it uses a directory and a port of the node, and says so in its values."""
CRDS = {file.stem: json.loads(file.read_text()) for file in (HERE / "crds").glob("*.json")}


def pod_specs(case: str) -> dict[str, dict[str, Any]]:
    found = {}
    for one in manifests(case):
        if one["kind"] in WORKLOADS:
            found[one["metadata"]["name"]] = one["spec"]["template"]["spec"]
        elif one["kind"] == "Pod":
            found[one["metadata"]["name"]] = one["spec"]
    return found


@pytest.mark.parametrize("case", CASES)
def test_lint_finds_nothing(case: str) -> None:
    assert "0 chart(s) failed" in helm.lint(values_of(case))


@pytest.mark.parametrize("kubernetes", VERSIONS)
@pytest.mark.parametrize("case", CASES)
def test_every_manifest_fits_its_schema(case: str, kubernetes: str) -> None:
    kinds = set()
    for one in yaml.load_all(rendered(case, kubernetes), Loader=UniqueKeys):
        kinds.add(one["kind"])
        if one["kind"] in CRDS:
            jsonschema.validate(one, CRDS[one["kind"]])
        else:
            assert kubernetes_validate.validate(one, kubernetes, strict=True) == kubernetes
    assert {"Service", "ConfigMap"} <= kinds
    assert proxy(manifests(case))["kind"] in kinds


def test_the_matrix_has_every_kind() -> None:
    kinds = {one["kind"] for case in CASES for one in manifests(case)}
    assert kinds == {
        *("Deployment", "Service", "ServiceAccount", "ConfigMap", "Ingress", "NetworkPolicy", "Pod"),
        *("HorizontalPodAutoscaler", "PodDisruptionBudget", "StatefulSet", "DaemonSet", *CRDS),
    }


def test_a_schema_refuses_what_it_does_not_know() -> None:
    (route,) = (one for one in manifests("gateway") if one["kind"] == "HTTPRoute")
    route["spec"]["rules"][0]["backendRefs"][0]["prot"] = 5000
    with pytest.raises(jsonschema.ValidationError, match="prot"):
        jsonschema.validate(route, CRDS["HTTPRoute"])


@pytest.mark.parametrize("case", CASES)
def test_what_is_rendered_is_what_was_reviewed(case: str) -> None:
    golden = HERE / "golden" / f"{case}.yaml"
    if os.environ.get("TWODFS_UPDATE_GOLDEN"):
        golden.parent.mkdir(exist_ok=True)
        golden.write_text(rendered(case))
    assert rendered(case) == golden.read_text(), "look at the difference, then: make chart-golden"


@pytest.mark.parametrize("case", CASES)
def test_pods_keep_to_the_restricted_standard(case: str) -> None:
    """Kubernetes' Pod Security Standards, policy "restricted", and what we ask beyond it."""
    for name, spec in pod_specs(case).items():
        pod = spec["securityContext"]
        assert not {"hostNetwork", "hostPID", "hostIPC"} & spec.keys(), name
        assert pod["runAsNonRoot"], name
        assert pod["runAsUser"] > 0, name
        assert pod["seccompProfile"] == {"type": "RuntimeDefault"}, name
        assert spec["automountServiceAccountToken"] is False, name
        kinds = {kind for volume in spec["volumes"] for kind in volume if kind != "name"}
        of_the_node = {"hostPath"} if case == NODES_OWN else set()
        assert kinds <= {"configMap", "secret", "emptyDir", "projected", *of_the_node}, name
        for one in (*spec["containers"], *spec.get("initContainers", [])):
            context = one["securityContext"]
            assert context["allowPrivilegeEscalation"] is False, one["name"]
            assert context["capabilities"] == {"drop": ["ALL"]}, one["name"]
            assert case == NODES_OWN or all("hostPort" not in port for port in one.get("ports", [])), one["name"]
            if one["name"] in {"proxy", "redis", "pull"}:
                assert context["readOnlyRootFilesystem"], one["name"]
                assert one["resources"]["limits"]["memory"], one["name"]


@pytest.mark.parametrize("case", CASES)
def test_what_a_manifest_names_is_there(case: str) -> None:
    everything = manifests(case)
    pods = [one["spec"]["template"] for one in everything if one["kind"] in WORKLOADS]
    for one in everything:
        if one["kind"] in WORKLOADS:
            labels = one["spec"]["template"]["metadata"]["labels"]
            assert one["spec"]["selector"]["matchLabels"].items() <= labels.items()
        if one["kind"] == "StatefulSet":
            assert {"Service"} == {
                service["kind"] for service in everything if service["metadata"]["name"] == one["spec"]["serviceName"]
            }
        if one["kind"] == "Service":
            (selected,) = (pod for pod in pods if one["spec"]["selector"].items() <= pod["metadata"]["labels"].items())
            ports = {port["name"] for made in selected["spec"]["containers"] for port in made.get("ports", [])}
            assert {port["targetPort"] for port in one["spec"]["ports"]} <= ports
    for one in everything:
        if one["kind"] not in (*WORKLOADS, "Pod"):
            continue
        claimed = {claim["metadata"]["name"] for claim in one["spec"].get("volumeClaimTemplates", [])}
        spec = pod_specs(case)[one["metadata"]["name"]]
        volumes = {volume["name"] for volume in spec["volumes"]} | claimed
        for made in spec["containers"]:
            assert {mount["name"] for mount in made.get("volumeMounts", [])} <= volumes
            probed = [
                made[probe]["httpGet"]["port"] for probe in made if probe.endswith("Probe") and "httpGet" in made[probe]
            ]
            assert set(probed) <= {port["name"] for port in made.get("ports", [])}
    namespaces = {one["metadata"].get("namespace") for one in everything}
    assert namespaces <= {"default", "models", "monitoring", None}
