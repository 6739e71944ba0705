"""The chart's values: what is refused, what is documented, what the notes say."""

import json
import re
import runpy
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import jsonschema
import kubernetes_validate
import pytest
import yaml
from pydantic import SecretStr

from proxy.config import settings
from tests.deploy.cases import UPSTREAM, VERSIONS, UniqueKeys, values_of
from tests.lab import helm
from tests.lab.command import CommandError
from tests.lab.helm import CHART, find

EDGE = ["edge.enabled=true"]
NODES = [*EDGE, "edge.kind=DaemonSet"]
SEVERAL = [UPSTREAM, "autoscaling.enabled=true", "redis.mode=bundled"]


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (["replicaCount=1"], "config.upstream.url is missing"),
        ([UPSTREAM, "replicaCount=2"], "several replicas need redis.mode"),
        ([UPSTREAM, "autoscaling.enabled=true"], "several replicas need redis.mode"),
        (["config.upstream.url=registry:5000"], "registry:5000 in it, which is no origin"),
        (["config.upstream.url={http://registry:5000,http://other/v2}"], "http://other/v2 in it"),
        ([UPSTREAM, "config.admin=none"], "config/admin"),
        ([UPSTREAM, "config.admin=0.0.0.0:99999"], "config/admin"),
        ([UPSTREAM, "config.admin=localhost:9464"], "config.admin is an address that nothing outside"),
        ([UPSTREAM, "config.listen=127.0.0.1:5000"], "config.listen is an address that nothing outside"),
        ([UPSTREAM, "config.listen=[::]:9464"], "config.admin has the port of config.listen"),
        ([UPSTREAM, "config.cach.ttl=1"], "cach"),
        ([UPSTREAM, "config.cache.tll=1"], "tll"),
        ([UPSTREAM, "config.cache.ttl=forever"], "config/cache/ttl"),
        ([UPSTREAM, "config.cache.memory=5 parsecs"], "config/cache/memory"),
        ([UPSTREAM, "config.limits.requests=0"], "config/limits/requests"),
        ([UPSTREAM, "config.limits.requests.all=9"], "config/limits/requests"),
        ([UPSTREAM, "config.log.level=loud"], "config/log/level"),
        ([UPSTREAM, "config.auth.clients.rules[0].users={ann}"], "repositories"),
        ([UPSTREAM, "config.public_url=models.example.org"], "config/public_url"),
        ([UPSTREAM, "redis.mode=cluster", "redis.nodes={a:99999}"], "redis/nodes"),
        ([UPSTREAM, "podDisruptionBudget.minAvailable=150%"], "podDisruptionBudget/minAvailable"),
        ([UPSTREAM, "ingress.enabled=true", "ingress.hosts={https://a.org}"], "ingress/hosts"),
        ([UPSTREAM, "redis.mode=external"], "redis.url or redis.existingSecret"),
        *(
            ([UPSTREAM, "redis.mode=external", f"redis.url={url}"], "redis.url has a password in it")
            for url in (
                "redis://:open@a:1/0",
                "redis://:hun/ter2@a",
                "rediss://a:1/0?password=open",
                "redis+sentinel://a:1/shared?sentinel_username=b&sentinel_password=open",
                "redis+sentinel://:$(REDIS_PASSWORD)@a:1/shared?sentinel_password=open",
            )
        ),
        ([UPSTREAM, "redis.mode=external", "redis.url=redis://:$(REDIS_PASSWORD)@a"], "go together"),
        (
            [UPSTREAM, "redis.mode=external", "redis.url=redis://a", "redis.passwordSecret.name=b"],
            "go together",
        ),
        (
            [UPSTREAM, "redis.mode=external", "redis.existingSecret=a", "redis.passwordSecret.name=b"],
            "no use beside redis.existingSecret",
        ),
        (
            [*SEVERAL, "autoscaling.targetCPUUtilizationPercentage=null"],
            "autoscaling needs targetCPUUtilizationPercentage",
        ),
        ([*SEVERAL, "autoscaling.minReplicas=11"], "minReplicas is more than autoscaling.maxReplicas"),
        ([UPSTREAM, "podDisruptionBudget.maxUnavailable=null"], "needs minAvailable or maxUnavailable"),
        ([UPSTREAM, "config.workers=2"], "config.workers needs redis.mode"),
        ([UPSTREAM, "redis.mode=sentinel", "redis.sentinel.service=shared"], "needs redis.nodes"),
        ([UPSTREAM, "redis.mode=sentinel", "redis.nodes={a:1}"], "needs redis.sentinel.service"),
        ([UPSTREAM, "redis.mode=cluster"], "redis.mode cluster needs redis.nodes"),
        ([UPSTREAM, "redis.mode=cluster", "redis.nodes={user:open@a:1}"], "redis/nodes"),
        ([UPSTREAM, "redis.tls.certificateKey=tls.crt"], "certificateKey and privateKeyKey together"),
        ([UPSTREAM, "terminationGracePeriodSeconds=35"], "has to be more than drainSeconds"),
        ([UPSTREAM, "tls.enabled=true"], "tls.existingSecret or certificate.enabled"),
        ([UPSTREAM, "tls.enabled=true", "certificate.enabled=true"], "certificate.issuerRef.name"),
        ([UPSTREAM, "ingress.enabled=true"], "ingress.hosts"),
        ([UPSTREAM, "httpRoute.enabled=true"], "httpRoute.parentRefs"),
        ([UPSTREAM, "replicaCont=2"], "replicaCont"),
        ([UPSTREAM, "nameOverride=a.b"], "nameOverride"),
        ([UPSTREAM, "namespaceOverride=Models"], "namespaceOverride"),
        ([UPSTREAM, "fullnameOverride=2dfs"], "fullnameOverride"),
        ([UPSTREAM, "serviceAccount.name=a_b"], "serviceAccount/name"),
        ([UPSTREAM, "image.digest=latest"], "image/digest"),
        ([UPSTREAM, *EDGE, "config.edge.directory=/srv"], "edge.enabled sets config.edge.directory"),
        ([*SEVERAL, *EDGE], "autoscaling is not for edge nodes"),
        ([UPSTREAM, *EDGE, "replicaCount=2"], "several replicas need redis.mode"),
        ([UPSTREAM, *EDGE, "edge.hostPath=/srv"], "need edge.kind DaemonSet"),
        ([UPSTREAM, *EDGE, "edge.hostPort=5000"], "need edge.kind DaemonSet"),
        ([UPSTREAM, *NODES, "edge.persistence.existingClaim=own"], "StatefulSet with one replica"),
        ([UPSTREAM, *NODES, "service.type=NodePort"], "a DaemonSet behind"),
        ([UPSTREAM, *NODES, "ingress.enabled=true", "ingress.hosts={a.org}"], "a DaemonSet behind"),
        ([UPSTREAM, *EDGE, "edge.persistence.size=20"], "edge/persistence/size"),
        ([UPSTREAM, *EDGE, "edge.persistence.accessModes={ReadOnlyMany}"], "edge/persistence/accessModes"),
        ([UPSTREAM, *EDGE, "edge.mountPath=var"], "edge/mountPath"),
        ([UPSTREAM, "config.edge.max_stale=7 years"], "config/edge/max_stale"),
        ([UPSTREAM, "livenessProbe.exec.command={true}"], "livenessProbe"),
    ],
)
def test_values_that_cannot_work_are_refused(wrong: list[str], said: str) -> None:
    with pytest.raises(CommandError, match=said):
        helm.template(settings=wrong)


@pytest.mark.parametrize(
    ("setting", "value", "place"),
    [
        ("upstream.credentials.password", "open-sesame", "secrets.upstreamPassword"),
        ("upstream.credentials.token", "open-sesame", "setting upstream.credentials.token and asEnv true"),
        ("upstream.url", "http://ann:open-sesame@registry:5000", "secrets.upstreamPassword"),
        ("upstream.url", "{http://a,http://ann:open-sesame@b}", "secrets.upstreamPassword"),
        ("cache.secret", "open-sesame-open-sesame", "setting cache.secret and asEnv true"),
        ("cache.redis_url", "redis://:open-sesame@redis:6379/0", "redis.existingSecret"),
        ("cache.redis_url", "redis://redis:6379/0?password=open-sesame", "redis.existingSecret"),
        ("tracing.endpoint", "https://ann:open-sesame@traces/v1", "setting tracing.endpoint"),
    ],
)
def test_no_secret_gets_into_the_configmap(setting: str, value: str, place: str) -> None:
    with pytest.raises(CommandError) as refused:
        helm.template(settings=[UPSTREAM, f"config.{setting}={value}"])
    said = refused.value.output
    assert f"config.{setting} has a secret in it" in said
    assert place in said
    assert "open-sesame" not in said


def test_every_secret_of_the_program_is_refused() -> None:
    secrets = [
        path
        for path, section in settings().items()
        if section.model_fields[path.rpartition(".")[2]].annotation is SecretStr
    ]
    assert {"cache.secret", "cache.redis_url"} < set(secrets)
    for path in secrets:
        with pytest.raises(CommandError, match="has a secret in it"):
            helm.template(settings=[UPSTREAM, f"config.{path}=redis://:open-sesame@redis"])


def test_replicas_without_redis_keep_their_clients() -> None:
    affine = [UPSTREAM, "replicaCount=2", "service.sessionAffinity=ClientIP"]
    everything = helm.manifests(helm.template(settings=affine))
    assert find(everything, "Service", "twodfs-proxy")["spec"]["sessionAffinity"] == "ClientIP"


@pytest.mark.parametrize(
    ("release", "more", "name"),
    [
        ("2dfs", [], "proxy-2dfs-twodfs-proxy"),
        ("my.release", [], "my-release-twodfs-proxy"),
        ("123", ["nameOverride=1e3", "namespaceOverride=1e3"], "proxy-123-1e3"),
        ("models", [f"fullnameOverride={'a' * 51}-b"], "a" * 51),
        ("models", [f"fullnameOverride={'a' * 50}--b"], "a" * 50),
        ("a" * 53, [], "a" * 52),
    ],
)
def test_any_release_gets_names_that_kubernetes_takes(release: str, more: list[str], name: str) -> None:
    everything = helm.manifests(
        helm.template(values_of("redis"), settings=more, release=release, kubernetes=VERSIONS[-1])
    )
    services = [one["metadata"]["name"] for one in everything if one["kind"] == "Service"]
    assert set(services) == {name, f"{name}-admin", f"{name}-redis"}
    assert all(re.fullmatch(r"[a-z]([-a-z0-9]{0,61}[a-z0-9])?", service) for service in services)
    for one in everything:
        assert kubernetes_validate.validate(one, VERSIONS[-1], strict=True)


@pytest.mark.parametrize(
    ("names", "said"),
    [
        (["tls"], "extraSecrets.tls has the same volume as tls"),
        (["redisTls"], "extraSecrets.redisTls has the same volume as redis.tls"),
        (["upstream_credentials"], "has the same volume as secrets.upstreamCredentials"),
        (["signingKey"], "has the same volume as secrets.signingKey"),
        (["mineToo", "mine_too"], "has the same volume as extraSecrets.mineToo"),
        (["my.ca"], "my.ca"),
        (["a" * 57], "maxLength"),
        (["aB" * 20], "cannot be the name of a volume"),
        (["one", "two"], "upstream.ca_file is there twice"),
    ],
)
def test_names_of_secrets_that_are_no_volumes_are_refused(names: list[str], said: str, tmp_path: Path) -> None:
    file = tmp_path / "values.yaml"
    one = {"existingSecret": "own", "key": "key", "setting": "upstream.ca_file"}
    file.write_text(yaml.safe_dump({"extraSecrets": dict.fromkeys(names, one)}))
    with pytest.raises(CommandError, match=said):
        helm.template(file, settings=[UPSTREAM])


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"extraEnv": [{"name": "REDIS_PASSWORD", "value": "a"}]}, "extraEnv: REDIS_PASSWORD"),
        ({"extraVolumes": [{"name": "tmp", "emptyDir": {}}]}, "extraVolumes: tmp"),
        ({"extraVolumeMounts": [{"name": "more", "mountPath": "/tmp"}]}, "extraVolumeMounts: /tmp"),
        ({"edge": {"enabled": True}, "extraVolumes": [{"name": "edge", "emptyDir": {}}]}, "extraVolumes: edge"),
        (
            {"edge": {"enabled": True, "mountPath": "/srv"}, "extraVolumeMounts": [{"name": "a", "mountPath": "/srv"}]},
            "extraVolumeMounts: /srv",
        ),
    ],
)
def test_what_the_chart_has_already_cannot_be_added(values: dict[str, Any], said: str, tmp_path: Path) -> None:
    file = tmp_path / "values.yaml"
    file.write_text(yaml.safe_dump(values))
    with pytest.raises(CommandError, match=f"{said} is there twice, or the chart's own"):
        helm.template(values_of("sentinel"), file, settings=["replicaCount=1"])


def test_replicas_may_share_a_redis_that_the_configuration_names() -> None:
    more = ["replicaCount=2", "config.workers=2", "config.cache.redis_url=redis://redis:6379/0"]
    everything = helm.manifests(helm.template(settings=[UPSTREAM, *more]))
    assert find(everything, "Deployment", "twodfs-proxy")["spec"]["replicas"] == 2
    assert "There is no Redis" not in helm.notes(settings=[UPSTREAM, *more])


def test_a_constraint_with_a_selector_of_its_own_keeps_it(tmp_path: Path) -> None:
    constraint = {"maxSkew": 1, "topologyKey": "zone", "whenUnsatisfiable": "DoNotSchedule"}
    own = {**constraint, "labelSelector": {"matchExpressions": [{"key": "tier", "operator": "Exists"}]}}
    file = tmp_path / "values.yaml"
    file.write_text(yaml.safe_dump({"topologySpreadConstraints": [own, constraint]}))
    everything = helm.manifests(helm.template(file, settings=[UPSTREAM]))
    spec = find(everything, "Deployment", "twodfs-proxy")["spec"]
    kept, completed = spec["template"]["spec"]["topologySpreadConstraints"]
    assert kept == own
    assert completed == {**constraint, "labelSelector": spec["selector"]}


def test_the_checksum_of_the_configuration_is_the_charts() -> None:
    annotation = "podAnnotations.checksum/config=mine"
    everything = yaml.load_all(helm.template(settings=[UPSTREAM, annotation]), Loader=UniqueKeys)
    metadata = find(list(everything), "Deployment", "twodfs-proxy")["spec"]["template"]["metadata"]
    assert len(metadata["annotations"]["checksum/config"]) == 64


def test_pods_may_be_replaced_all_at_once() -> None:
    everything = helm.manifests(helm.template(settings=[UPSTREAM, "strategy.type=Recreate"]))
    assert find(everything, "Deployment", "twodfs-proxy")["spec"]["strategy"] == {"type": "Recreate"}


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


GET_SERVICE = "kubectl --namespace default get service models-twodfs-proxy --output"
BALANCER = ".status.loadBalancer.ingress[0]"


@pytest.mark.parametrize(
    ("more", "lines"),
    [
        (
            ["service.type=NodePort"],
            [
                "HOST=$(kubectl get nodes --output jsonpath='{.items[0].status.addresses[0].address}')",
                f"PORT=$({GET_SERVICE} jsonpath='{{.spec.ports[0].nodePort}}')",
                "docker pull $HOST:$PORT/library/model:v1--0.0.0.0",
            ],
        ),
        (
            ["service.type=NodePort", "service.nodePort=30500"],
            ["docker pull $HOST:30500/library/model:v1--0.0.0.0"],
        ),
        (
            ["service.type=LoadBalancer", "service.port=443"],
            [
                f"HOST=$({GET_SERVICE} jsonpath='{{{BALANCER}.ip}}{{{BALANCER}.hostname}}')",
                "docker pull $HOST:443/library/model:v1--0.0.0.0",
            ],
        ),
        (
            ["config.public_url=https://models.example.org/"],
            ["docker pull models.example.org/library/model:v1--0.0.0.0"],
        ),
    ],
)
def test_the_notes_know_every_way_in(more: list[str], lines: list[str]) -> None:
    notes = helm.notes(settings=[UPSTREAM, *more])
    assert set(lines) <= {line.strip() for line in notes.splitlines()}


def test_the_notes_name_all_origins_of_the_registry() -> None:
    notes = helm.notes(settings=["config.upstream.url={http://a:5000,http://b:5000}"])
    assert "in front of http://a:5000, http://b:5000." in notes


def test_the_notes_say_that_the_way_in_has_to_be_trusted() -> None:
    warning = "config.trusted_proxies is empty"
    assert warning in helm.notes(values_of("ha"))
    assert warning not in helm.notes(values_of("gateway"))
    assert warning not in helm.notes(values_of("default"))


VALUES: dict[str, Any] = yaml.safe_load((CHART / "values.yaml").read_text())


@pytest.mark.parametrize("section", VALUES)
def test_null_is_off_or_said_to_be_missing(section: str) -> None:
    """Helm takes a key away that is null: nothing of the template's own may come to light."""
    for path in (section, *below(VALUES[section], section)):
        try:
            written = helm.template(values_of(case_with(path)), settings=[f"{path}=null"])
        except CommandError as refused:
            said = refused.output
            assert "missing property" in said or "execution error at" in said, path  # that is `fail`
            continue
        assert not re.search(r"<nil>|no value|%!", written), path
        for one in yaml.safe_load_all(written):
            assert one is None or list(nulls(one)) == [], path


def below(value: Any, path: str) -> Iterator[str]:
    if isinstance(value, dict):
        for key, one in value.items():
            yield f"{path}.{key}"
            yield from below(one, f"{path}.{key}")


def nulls(value: Any, path: str = "") -> Iterator[str]:
    if value is None:
        yield path
    for key, one in value.items() if isinstance(value, dict) else ():
        yield from nulls(one, f"{path}.{key}")
    for one in value if isinstance(value, list) else ():
        yield from nulls(one, f"{path}[]")


def case_with(path: str) -> str:
    """Return a case that uses the value."""
    if path.startswith("redis.bundled"):
        return "redis"
    if path.startswith("redis."):
        return "sentinel"
    if path.startswith("edge"):
        return "edge-nodes" if path.startswith("edge.host") else "edge"
    return "certificate" if path.startswith("certificate") else "everything"


@pytest.mark.parametrize("part", ["startupProbe", "livenessProbe", "readinessProbe", "securityContext", "resources"])
def test_parts_of_the_container_can_be_turned_off(part: str) -> None:
    everything = helm.manifests(helm.template(settings=[UPSTREAM, f"{part}=null"]))
    spec = find(everything, "Deployment", "twodfs-proxy")["spec"]["template"]["spec"]
    assert part not in spec["containers"][0]


def test_every_value_is_documented_and_the_readme_is_current() -> None:
    docs = runpy.run_path(str(CHART.parent / "chart_docs.py"))
    assert docs["undocumented"]() == []
    assert docs["readme"]() == (CHART / "README.md").read_text(), "run: make chart-docs"


def test_the_schema_has_every_value_and_no_other() -> None:
    schema = json.loads((CHART / "values.schema.json").read_text())
    jsonschema.Draft202012Validator.check_schema(schema)
    assert set(differences(VALUES, schema, schema["$defs"], "")) == {
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
        if f"{path}{key}" == "config":  # the program's own, and has more settings than those with defaults here
            continue
        below = properties.get(key, {})
        below = shared[below["$ref"].rpartition("/")[2]] if "$ref" in below else below
        if isinstance(value, dict) and "properties" in below:
            yield from differences(value, below, shared, f"{path}{key}.")
