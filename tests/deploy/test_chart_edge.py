"""The chart's edge nodes: their volumes and sizes, the ways to them, what they do without."""

import pytest
import yaml

from proxy.config import load
from tests.deploy.cases import UPSTREAM, WORKLOADS, manifests, proxy, values_of, written
from tests.lab import helm
from tests.lab.helm import Manifest, find

EDGE = [UPSTREAM, "edge.enabled=true"]
NODES = [*EDGE, "edge.kind=DaemonSet"]


def rendered(*more: str) -> list[Manifest]:
    return helm.manifests(helm.template(settings=more))


def volume(everything: list[Manifest]) -> Manifest:
    (found,) = (one for one in proxy(everything)["spec"]["template"]["spec"]["volumes"] if one["name"] == "edge")
    return found  # type: ignore[no-any-return]


@pytest.mark.parametrize("case", ["edge", "edge-nodes"])
def test_edge_nodes_take_the_place_of_the_deployment(case: str) -> None:
    everything = manifests(case)
    assert [one["kind"] for one in everything if one["kind"] in WORKLOADS] == [proxy(everything)["kind"]]
    pod = proxy(everything)["spec"]["template"]["spec"]
    (beside,) = (one for one in manifests("default") if one["kind"] == "Deployment")
    ordinary = beside["spec"]["template"]["spec"]
    assert pod["securityContext"] == ordinary["securityContext"]
    assert pod["containers"][0]["securityContext"] == ordinary["containers"][0]["securityContext"]
    assert "initContainers" not in pod


@pytest.mark.parametrize(
    ("size", "most"),
    [
        ("20Gi", 19_327_352_832),
        ("100G", 90_000_000_000),
        ("1.5Ti", 1_484_340_697_497),
        ("512Mi", 483_183_820),
        ("5000000k", 4_500_000_000),
    ],
)
@pytest.mark.parametrize("kind", ["StatefulSet", "DaemonSet"])
def test_content_has_nine_tenths_of_the_claim(kind: str, size: str, most: int) -> None:
    everything = rendered(*EDGE, f"edge.kind={kind}", f"edge.persistence.size={size}")
    edge = load({}, {"TWODFS_PROXY_UPSTREAM": "http://a", **flags(everything)}).edge
    assert edge.max_size == most
    if kind == "DaemonSet":
        claim = volume(everything)["ephemeral"]["volumeClaimTemplate"]
    else:
        (claim,) = proxy(everything)["spec"]["volumeClaimTemplates"]
    assert claim["spec"]["resources"]["requests"]["storage"] == size


def flags(everything: list[Manifest]) -> dict[str, str]:
    return {f"TWODFS_PROXY_EDGE_{name.upper()}": str(value) for name, value in written(everything)["edge"].items()}


@pytest.mark.parametrize(
    "more",
    [
        (*EDGE, "edge.persistence.existingClaim=own"),
        (*NODES, "edge.hostPath=/srv/edge"),
    ],
)
def test_of_a_volume_that_the_chart_does_not_make_it_tells_no_size(more: tuple[str, ...]) -> None:
    assert written(rendered(*more))["edge"] == {"directory": "/var/lib/twodfs-edge"}


def test_a_size_of_ones_own_stays() -> None:
    edge = written(rendered(*EDGE, "config.edge.max_size=5GB", "edge.mountPath=/srv"))["edge"]
    assert edge == {"directory": "/srv", "max_size": "5GB"}


def test_a_claim_of_ones_own_is_mounted() -> None:
    everything = rendered(*EDGE, "edge.persistence.existingClaim=own")
    assert volume(everything) == {"name": "edge", "persistentVolumeClaim": {"claimName": "own"}}
    assert "volumeClaimTemplates" not in proxy(everything)["spec"]


def test_claims_name_their_class_or_none() -> None:
    def spec(*more: str) -> Manifest:
        (claim,) = proxy(rendered(*EDGE, *more))["spec"]["volumeClaimTemplates"]
        return claim["spec"]  # type: ignore[no-any-return]

    assert "storageClassName" not in spec()
    assert spec("edge.persistence.storageClass=-")["storageClassName"] == ""
    assert spec("edge.persistence.storageClass=fast")["storageClassName"] == "fast"


def test_the_engine_of_a_node_reaches_its_own_edge() -> None:
    everything = manifests("edge-nodes")
    (port,) = (
        one for one in proxy(everything)["spec"]["template"]["spec"]["containers"][0]["ports"] if "hostPort" in one
    )
    assert port == {"name": "registry", "containerPort": 5000, "hostPort": 5000, "hostIP": "127.0.0.1"}
    assert volume(everything)["hostPath"] == {"path": "/var/lib/twodfs-edge", "type": "Directory"}
    assert find(everything, "Service", "twodfs-proxy")["spec"]["internalTrafficPolicy"] == "Local"
    shared = rendered(*NODES, "redis.mode=bundled")
    assert "internalTrafficPolicy" not in find(shared, "Service", "twodfs-proxy")["spec"]


def test_a_daemonset_has_no_budget_which_would_let_no_pod_go() -> None:
    assert not [one for one in manifests("edge-nodes") if one["kind"] == "PodDisruptionBudget"]
    assert [one for one in manifests("edge") if one["kind"] == "PodDisruptionBudget"]


def test_workers_of_an_edge_node_need_no_redis() -> None:
    assert written(rendered(*EDGE, "config.workers=2"))["workers"] == 2


def test_notes_say_what_a_node_needs() -> None:
    notes = helm.notes(values_of("edge-nodes"))
    assert "install -d -m 0700 -o 65532 -g 65532 /var/lib/twodfs-edge" in notes
    assert "127.0.0.1:5000" in notes
    assert "rollout status daemonset/models-twodfs-proxy" in notes
    assert "rollout status statefulset/models-twodfs-proxy" in helm.notes(values_of("edge"))
    assert "There is no Redis" not in notes
    assert "The volumes end with their pods" in helm.notes(settings=NODES)


def test_the_update_strategy_is_the_kinds_own() -> None:
    assert proxy(rendered(*EDGE, "edge.updateStrategy.type=OnDelete"))["spec"]["updateStrategy"] == {"type": "OnDelete"}
    values = yaml.safe_load(values_of("edge-nodes").read_text())
    assert proxy(manifests("edge-nodes"))["spec"]["updateStrategy"] == values["edge"]["updateStrategy"]
