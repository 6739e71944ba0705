"""The chart's values: what is refused, what is documented, what the notes say."""

import json
import runpy
from collections.abc import Iterator, Mapping
from typing import Any

import jsonschema
import pytest
import yaml

from tests.deploy.cases import UPSTREAM, values_of
from tests.lab import helm
from tests.lab.command import CommandError
from tests.lab.helm import CHART, find


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (["replicaCount=1"], "config.upstream.url is missing"),
        ([UPSTREAM, "replicaCount=2"], "several replicas need redis.mode"),
        ([UPSTREAM, "autoscaling.enabled=true"], "several replicas need redis.mode"),
        ([UPSTREAM, "config.admin=none"], "config/admin"),
        ([UPSTREAM, "redis.mode=external"], "redis.url or redis.existingSecret"),
        ([UPSTREAM, "redis.mode=external", "redis.url=redis://:open@a:1/0"], "has a password in it"),
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


def test_the_notes_say_that_the_way_in_has_to_be_trusted() -> None:
    warning = "config.trusted_proxies is empty"
    assert warning in helm.notes(values_of("ha"))
    assert warning not in helm.notes(values_of("gateway"))
    assert warning not in helm.notes(values_of("default"))


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
