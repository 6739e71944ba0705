"""The chart as Helm renders it: over a matrix of values, against Kubernetes' schemas and the program's."""

import json
import os
import runpy
import tomllib
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import jsonschema
import kubernetes_validate
import pytest
import yaml
from hypothesis import HealthCheck, given
from hypothesis import settings as given_settings
from hypothesis import strategies as st

from proxy.config import load, settings
from tests.deploy.pod import container
from tests.lab import helm
from tests.lab.command import CommandError
from tests.lab.helm import CHART, Manifest, find

HERE = Path(__file__).parent
CASES = tuple(sorted(file.name.removesuffix("-values.yaml") for file in (CHART / "ci").iterdir()))
KUBERNETES = ("1.30", "1.34", "1.37")
CRDS = {file.stem: json.loads(file.read_text()) for file in (HERE / "crds").glob("*.json")}
UPSTREAM = "config.upstream.url=http://registry:5000"
# Settings that the chart writes for features that the program is still to get. Empty when all are in.
AWAITED = {
    *("upstream.credentials.kind", "upstream.credentials.file", "upstream.credentials.password"),
    *("auth.clients.htpasswd", "auth.token.keys", "auth.token.issuer", "auth.token.audience"),
    *("signing.key", "tls.certificate", "tls.key"),
}
SECRETS = {
    "redis-of-the-platform": {"redis-url": "redis://redis:6379/0"},
    "redis-credentials": {"password": "open-sesame"},
    "redis-password": {"redis-password": "open-sesame"},
    "prefix": {"prefix": "everything"},
    "upstream-credentials": {".dockerconfigjson": "{}"},
    "signing-key": {"cosign.key": "key"},
    "users": {"htpasswd": "ann:hash"},
    "token-keys": {"jwks.json": "{}"},
    "own-certificate": {"tls.crt": "chain", "tls.key": "key"},
    "models-twodfs-proxy-tls": {"tls.crt": "chain", "tls.key": "key"},
}


def values_of(case: str) -> Path:
    return CHART / "ci" / f"{case}-values.yaml"


@cache
def rendered(case: str, kubernetes: str = KUBERNETES[-1]) -> str:
    return helm.template(values_of(case), kubernetes=kubernetes)


def manifests(case: str) -> list[Manifest]:
    return helm.manifests(rendered(case))


def pod_specs(case: str) -> dict[str, dict[str, Any]]:
    found = {}
    for one in manifests(case):
        if one["kind"] == "Deployment":
            found[one["metadata"]["name"]] = one["spec"]["template"]["spec"]
        elif one["kind"] == "Pod":
            found[one["metadata"]["name"]] = one["spec"]
    return found


def configuration(case: str) -> dict[str, Any]:
    (proxy,) = (
        one for one in manifests(case) if one["kind"] == "ConfigMap" and "config.toml" in one.get("data", {})
    )
    return tomllib.loads(proxy["data"]["config.toml"])


class UniqueKeys(yaml.SafeLoader):
    """YAML lets a later key replace an earlier one in silence, which hides a template's mistake."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:  # noqa: FBT001, FBT002
        keys = [self.construct_object(key) for key, _ in node.value]
        assert len(keys) == len(set(keys)), f"a key twice among {keys}"
        return super().construct_mapping(node, deep)


@pytest.mark.parametrize("case", CASES)
def test_lint_finds_nothing(case: str) -> None:
    assert "0 chart(s) failed" in helm.lint(values_of(case))


@pytest.mark.parametrize("kubernetes", KUBERNETES)
@pytest.mark.parametrize("case", CASES)
def test_every_manifest_fits_its_schema(case: str, kubernetes: str) -> None:
    kinds = set()
    for one in yaml.load_all(rendered(case, kubernetes), Loader=UniqueKeys):
        kinds.add(one["kind"])
        if one["kind"] in CRDS:
            jsonschema.validate(one, CRDS[one["kind"]])
        else:
            assert kubernetes_validate.validate(one, kubernetes, strict=True) == kubernetes
    assert {"Deployment", "Service", "ConfigMap"} <= kinds


def test_the_matrix_has_every_kind() -> None:
    kinds = {one["kind"] for case in CASES for one in manifests(case)}
    assert kinds == {
        *("Deployment", "Service", "ServiceAccount", "ConfigMap", "Ingress", "NetworkPolicy", "Pod"),
        *("HorizontalPodAutoscaler", "PodDisruptionBudget", *CRDS),
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
        assert kinds <= {"configMap", "secret", "emptyDir", "projected"}, name
        for one in (*spec["containers"], *spec.get("initContainers", [])):
            context = one["securityContext"]
            assert context["allowPrivilegeEscalation"] is False, one["name"]
            assert context["capabilities"] == {"drop": ["ALL"]}, one["name"]
            assert all("hostPort" not in port for port in one.get("ports", [])), one["name"]
            if one["name"] in {"proxy", "redis", "pull"}:
                assert context["readOnlyRootFilesystem"], one["name"]
                assert one["resources"]["limits"]["memory"], one["name"]


@pytest.mark.parametrize("case", CASES)
def test_what_a_manifest_names_is_there(case: str) -> None:
    everything = manifests(case)
    pods = [one["spec"]["template"] for one in everything if one["kind"] == "Deployment"]
    for one in everything:
        if one["kind"] == "Deployment":
            labels = one["spec"]["template"]["metadata"]["labels"]
            assert one["spec"]["selector"]["matchLabels"].items() <= labels.items()
        if one["kind"] == "Service":
            (selected,) = (
                pod for pod in pods if one["spec"]["selector"].items() <= pod["metadata"]["labels"].items()
            )
            ports = {
                port["name"] for made in selected["spec"]["containers"] for port in made.get("ports", [])
            }
            assert {port["targetPort"] for port in one["spec"]["ports"]} <= ports
    for spec in pod_specs(case).values():
        volumes = {volume["name"] for volume in spec["volumes"]}
        for one in spec["containers"]:
            assert {mount["name"] for mount in one.get("volumeMounts", [])} <= volumes
            probed = [
                one[probe]["httpGet"]["port"]
                for probe in one
                if probe.endswith("Probe") and "httpGet" in one[probe]
            ]
            assert set(probed) <= {port["name"] for port in one.get("ports", [])}
    namespaces = {one["metadata"].get("namespace") for one in everything}
    assert namespaces <= {"default", "models", "monitoring", None}


@pytest.mark.parametrize("case", CASES)
def test_the_program_takes_the_configuration_that_is_rendered(case: str, tmp_path: Path) -> None:
    """The file and the variables of the container together."""
    everything = manifests(case)
    process = container(
        everything, find(everything, "Deployment", proxy_name(case)), "proxy", SECRETS, tmp_path
    )
    file = Path(process.argv[process.argv.index("--config") + 1])
    written = tomllib.loads(file.read_text())
    missing = {path for path, _ in flat(written)} - set(settings())
    assert missing <= AWAITED
    for path in missing:
        remove(written, path)
    file.write_text(toml(written))
    config = load({}, process.environment, file)
    assert config.upstream.url == written["upstream"]["url"]
    assert (config.listen.port, config.admin.port if config.admin else 0) == (
        process.ports["registry"],
        process.ports["admin"],
    )
    wants_redis = case in {"ha", "everything", "redis", "bare-redis"}
    assert bool(config.cache.redis_url.get_secret_value()) == wants_redis


def proxy_name(case: str) -> str:
    return "everything" if case == "everything" else "models-twodfs-proxy"


def toml(tree: Mapping[str, Any]) -> str:
    """Write a tree of tables and plain values."""
    lines: list[str] = []
    tables: dict[str, list[str]] = {"": lines}
    for path, value in flat(tree):
        table, _, key = path.rpartition(".")
        tables.setdefault(table, []).append(f"{key} = {json.dumps(value)}")
    head = tables.pop("")
    return "\n".join((*head, *(f"[{table}]\n" + "\n".join(rows) for table, rows in tables.items())))


def flat(tree: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in tree.items():
        if isinstance(value, dict):
            yield from flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def remove(tree: dict[str, Any], path: str) -> None:
    *above, name = path.split(".")
    for part in above:
        tree = tree[part]
    del tree[name]


def test_settings_that_the_chart_names_are_the_programs() -> None:
    values = yaml.safe_load((CHART / "values.yaml").read_text())
    named = {secret["setting"] for secret in values["secrets"].values()}
    named |= {values["tls"]["certificateSetting"], values["tls"]["privateKeySetting"]}
    assert named - set(settings()) <= AWAITED
    assert {path for path, _ in flat(values["config"])} <= set(settings())


# YAML has no way to write these but escapes, and a ConfigMap's text has none.
text = st.characters(
    exclude_categories=["Cs"], exclude_characters=[*map(chr, range(0x80, 0xA0)), "\ufeff", "\ufffe", "\uffff"]
)
trees = st.recursive(
    st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False, allow_infinity=False, width=32).filter(lambda number: number % 1 != 0)
    | st.text(text)
    | st.lists(st.text(text, max_size=3) | st.dictionaries(st.sampled_from("ab"), st.booleans(), max_size=2)),
    lambda below: st.dictionaries(st.text(text, max_size=5), below),
    max_leaves=30,
)


@given_settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(tree=st.dictionaries(st.sampled_from(["a", "b.c", "d e", ""]), trees))
def test_any_tree_is_the_same_in_the_program(tree: dict[str, Any], tmp_path: Path) -> None:
    values = tmp_path / "values.yaml"
    written = json.dumps({"config": {"tree": tree}}, ensure_ascii=False)
    values.write_text(written.replace("\x7f", "\\u007f"))  # YAML has no surrogates, and escapes DEL
    everything = helm.manifests(helm.template(values, settings=[UPSTREAM]))
    written = find(everything, "ConfigMap", "models-twodfs-proxy")["data"]["config.toml"]
    assert tomllib.loads(written)["tree"] == tree


def test_null_removes_a_key(tmp_path: Path) -> None:
    values = tmp_path / "values.yaml"
    values.write_text("config: {cache: {ttl: null, tag_ttl: 1}}")
    everything = helm.manifests(helm.template(values, settings=[UPSTREAM]))
    written = find(everything, "ConfigMap", "models-twodfs-proxy")["data"]["config.toml"]
    assert tomllib.loads(written)["cache"] == {"tag_ttl": 1}


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (["replicaCount=1"], "config.upstream.url is missing"),
        ([UPSTREAM, "replicaCount=2"], "several replicas need redis.mode"),
        ([UPSTREAM, "autoscaling.enabled=true"], "several replicas need redis.mode"),
        ([UPSTREAM, "config.admin=none"], "config/admin"),
        ([UPSTREAM, "redis.mode=external"], "redis.url or redis.existingSecret"),
        ([UPSTREAM, "redis.mode=external", "redis.url=redis://:open@a:1/0"], "has a password in it"),
        ([UPSTREAM, "tls.enabled=true"], "tls.existingSecret or certificate.enabled"),
        ([UPSTREAM, "tls.enabled=true", "certificate.enabled=true"], "certificate.issuerRef.name"),
        ([UPSTREAM, "ingress.enabled=true"], "ingress.hosts"),
        ([UPSTREAM, "httpRoute.enabled=true"], "httpRoute.parentRefs"),
        ([UPSTREAM, "replicaCont=2"], "replicaCont"),
        ([UPSTREAM, "image.digest=latest"], "image/digest"),
        ([UPSTREAM, "livenessProbe.exec.command={true}"], "livenessProbe"),
    ],
)
def test_values_that_cannot_work_are_refused(wrong: list[str], said: str) -> None:
    with pytest.raises(CommandError, match=said):
        helm.template(settings=wrong)


def test_replicas_without_redis_keep_their_clients() -> None:
    settings = [UPSTREAM, "replicaCount=2", "service.sessionAffinity=ClientIP"]
    everything = helm.manifests(helm.template(settings=settings))
    assert find(everything, "Service", "twodfs-proxy")["spec"]["sessionAffinity"] == "ClientIP"


def test_no_secret_is_in_the_configuration() -> None:
    written = next(one for one in manifests("everything") if "config.toml" in one.get("data", {}))
    assert "redis" not in written["data"]["config.toml"]
    assert find(manifests("redis"), "ConfigMap", "twodfs-proxy")["data"]["config.toml"].count("redis") == 0
    assert configuration("bare-redis")["cache"]["redis_url"] == "redis://models-twodfs-proxy-redis:6379/0"


def test_a_changed_configuration_replaces_the_pods() -> None:
    def checksum(*more: str) -> str:
        everything = helm.manifests(helm.template(settings=[UPSTREAM, *more]))
        metadata = find(everything, "Deployment", "twodfs-proxy")["spec"]["template"]["metadata"]
        return str(metadata["annotations"]["checksum/config"])

    assert checksum() == checksum("replicaCount=1")
    assert checksum() != checksum("config.cache.tag_ttl=1")


def test_a_pod_outlives_its_running_downloads() -> None:
    for case in ("default", "minimal", "ha"):
        spec = find(manifests(case), "Deployment", "models-twodfs-proxy")["spec"]["template"]["spec"]
        drain = spec["containers"][0].get("lifecycle", {"preStop": {"sleep": {"seconds": 0}}})
        waited = drain["preStop"]["sleep"]["seconds"] + configuration(case)["shutdown_grace"]
        assert spec["terminationGracePeriodSeconds"] > waited


def test_the_address_follows_from_the_way_in() -> None:
    assert configuration("ha")["public_url"] == "https://models.example.org"
    assert configuration("gateway")["public_url"] == "https://models.example.org"
    assert "public_url" not in configuration("default")


@pytest.mark.parametrize(
    ("case", "command"),
    [
        ("ha", "docker pull models.example.org/library/model:v1--0.0.0.0"),
        ("everything", "docker pull models.example.org/library/model:v1--0.0.0.1"),
        ("default", "docker pull localhost:5000/library/model:v1--0.0.0.0"),
    ],
)
def test_the_notes_have_the_very_command(case: str, command: str) -> None:
    assert f"\n  {command}\n" in helm.notes(values_of(case))


def test_every_value_is_documented_and_the_readme_is_current() -> None:
    docs = runpy.run_path(str(CHART.parent / "chart_docs.py"))
    assert docs["undocumented"]() == []
    assert docs["readme"]() == (CHART / "README.md").read_text(), "run: make chart-docs"


def test_the_schema_has_every_value_and_no_other() -> None:
    values = yaml.safe_load((CHART / "values.yaml").read_text())
    schema = json.loads((CHART / "values.schema.json").read_text())
    jsonschema.Draft202012Validator.check_schema(schema)
    assert set(differences(values, schema, schema["$defs"], "")) == {
        "global",  # what a parent chart may hand down
        *(f"certificate.issuerRef.{name}" for name in ("name", "kind", "group")),
        "httpRoute.timeouts.backendRequest",
    }


def differences(
    values: Mapping[str, Any], schema: Mapping[str, Any], shared: Mapping[str, Any], path: str
) -> Iterator[str]:
    """Yield the paths that only one of the two knows; a schema without properties is a free tree."""
    properties: dict[str, Any] = schema["properties"]
    is_free = "additionalProperties" not in schema
    yield from (f"{path}{key}" for key in properties.keys() - values.keys())
    yield from (f"{path}{key}" for key in values.keys() - properties.keys() if not is_free)
    for key, value in values.items():
        below = properties.get(key, {})
        below = shared[below["$ref"].rpartition("/")[2]] if "$ref" in below else below
        if isinstance(value, dict) and "properties" in below:
            yield from differences(value, below, shared, f"{path}{key}.")
