"""From values to the program's configuration: TOML, secrets, and what follows from other values."""

import json
import runpy
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from hypothesis import HealthCheck, given
from hypothesis import settings as given_settings
from hypothesis import strategies as st
from pydantic import ValidationError

from proxy.config import Config, load, settings
from tests.deploy.cases import CASES, UPSTREAM, configuration, manifests, proxy
from tests.deploy.pod import container
from tests.lab import helm
from tests.lab.helm import CHART, Manifest, find

SECRETS = {
    "redis-of-the-platform": {"redis-url": "redis://redis:6379/0"},
    "redis-credentials": {"password": "open-sesame"},
    "redis-password": {"redis-password": "open-sesame"},
    "sentinel-password": {"sentinel-password": "open-barley"},
    "redis-tls": {"ca.crt": "chain", "tls.crt": "chain", "tls.key": "key"},
    "prefix": {"prefix": "everything"},
    "upstream-credentials": {".dockerconfigjson": "{}"},
    "signing-key": {"cosign.key": "key"},
    "edge-admin": {"token": "open-sesame"},
    "users": {"htpasswd": "ann:hash"},
    "token-keys": {"jwks.json": "{}"},
    "quay-robot": {"password": "open-sesame"},
    "hub-pull": {".dockerconfigjson": "{}"},
    "models-registry": {"ca.crt": "chain", "tls.crt": "chain", "tls.key": "key"},
    "models-ca": {"ca.crt": "chain"},
    "own-certificate": {"tls.crt": "chain", "tls.key": "key"},
    "models-twodfs-proxy-tls": {"tls.crt": "chain", "tls.key": "key"},
}


@pytest.mark.parametrize("case", CASES)
def test_the_program_takes_the_configuration_that_is_rendered(case: str, tmp_path: Path) -> None:
    """The file and the variables of the container together."""
    everything = manifests(case)
    process = container(everything, proxy(everything), "proxy", SECRETS, tmp_path)
    file = Path(process.argv[process.argv.index("--config") + 1])
    written = tomllib.loads(file.read_text())
    config = load({}, process.environment, file)
    tables = written["upstream"] if case.endswith("registries") else [written["upstream"]]
    assert {one.name: one.urls for one in (config.upstream, *config.upstreams)} == {
        one.get("name", ""): tuple(one["url"] if isinstance(one["url"], list) else [one["url"]]) for one in tables
    }
    assert (config.listen.port, config.admin.port if config.admin else 0) == (
        process.ports["registry"],
        process.ports["admin"],
    )
    wants_redis = case in {"ha", "everything", "redis", "bare-redis", "sentinel", "cluster"}
    assert bool(config.cache.redis_url.get_secret_value()) == wants_redis
    is_edge = case.startswith("edge")
    assert (config.edge.directory is not None) == is_edge
    assert is_edge == any(mount["name"] == "edge" for mount in pod_of(everything)["containers"][0]["volumeMounts"])


def pod_of(everything: Sequence[Manifest]) -> Manifest:
    spec: Manifest = proxy(everything)["spec"]["template"]["spec"]
    return spec


def flat(tree: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in tree.items():
        if isinstance(value, dict):
            yield from flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def test_settings_that_the_chart_names_are_the_programs() -> None:
    values = yaml.safe_load((CHART / "values.yaml").read_text())
    named = {secret["setting"] for secret in values["secrets"].values()}
    named |= {values["tls"]["certificateSetting"], values["tls"]["privateKeySetting"]}
    assert named <= set(settings())
    assert {path for path, _ in flat(values["config"])} <= set(settings())


def test_the_schema_of_the_configuration_is_current() -> None:
    made = runpy.run_path(str(CHART.parent / "config_schema.py"))
    assert made["schema"]() == (CHART / "values.schema.json").read_text(), "run: make chart-docs"


SAMPLES: tuple[Any, ...] = (
    *(0, 1, 5, 4096.0, 0.5, 1.2, 2**31, -1, "5", "0.5", " 7 ", "1e3", "64MiB", "1.5 GB", "10k", "2048 kib"),
    *("7d", "24h", "90 min", "1.5 w"),
    *(True, False, "yes", "Off", "t", "", "a", "1.2", "debug", "proxy", "static", "follow", "/etc/file"),
    *("http://a:1", "http://a,http://b", "https://a/token", "redis://a", "fd00::/8,10.0.0.0/8", "*.lan, a"),
    *([], ["http://a"], ["10.0.0.0/8", "fd00::/8"], ["*.lan", "a.lan"], ["/etc/file"], ["a/*"], {}),
    *("failover", "off", "auto", "json", "any", '[{"users": ["a"], "repositories": ["b"]}]'),
)
RULES = [
    {"users": ["*"], "repositories": ["**"], "actions": ["pull", "push"]},
    {"users": ["ann"], "repositories": ["a/*"], "registries": ["hub"]},
]
CHARTS_OWN = {"listen", "admin", "public_url", "shutdown_grace", "upstreams"}


@pytest.mark.parametrize("path", [path for path in settings() if path not in CHARTS_OWN])
def test_the_schema_takes_whatever_the_program_takes(path: str) -> None:
    schema = json.loads((CHART / "values.schema.json").read_text())
    is_truth = settings()[path].model_fields[path.rpartition(".")[2]].annotation is bool
    samples = [one for one in SAMPLES if isinstance(one, str | list) or is_truth == isinstance(one, bool)]
    samples += [RULES] if path == "auth.clients.rules" else []
    taken = [one for one in samples if does_program_take(path, one)]
    assert taken
    assert path != "auth.clients.rules" or RULES in taken
    for part in ("config", *path.split(".")):
        schema = schema["properties"][part]
    for value in (*taken, None):
        jsonschema.validate(value, schema)


def does_program_take(path: str, value: Any) -> bool:
    """Say whether there is nothing wrong with the value itself, whatever it needs beside it."""
    tree: dict[str, Any] = {"upstream": {"url": "http://registry", "name": "default"}}
    *sections, name = path.split(".")
    table = tree
    for section in sections:
        table = table.setdefault(section, {})
    table[name] = value
    try:
        Config.model_validate(tree)
    except ValidationError as error:
        place = tuple(path.split("."))
        return all(one["loc"][: len(place)] != place for one in error.errors())
    return True


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
    everything = helm.manifests(helm.template(values, settings=[UPSTREAM], is_checked=False))
    written = find(everything, "ConfigMap", "models-twodfs-proxy")["data"]["config.toml"]
    assert tomllib.loads(written)["tree"] == tree


def test_null_removes_a_key(tmp_path: Path) -> None:
    values = tmp_path / "values.yaml"
    values.write_text("config: {cache: {ttl: null, tag_ttl: 1}}")
    everything = helm.manifests(helm.template(values, settings=[UPSTREAM]))
    written = find(everything, "ConfigMap", "models-twodfs-proxy")["data"]["config.toml"]
    assert tomllib.loads(written)["cache"] == {"tag_ttl": 1}


def test_no_secret_is_in_the_configuration() -> None:
    written = next(one for one in manifests("everything") if "config.toml" in one.get("data", {}))
    assert "redis" not in written["data"]["config.toml"]
    assert find(manifests("redis"), "ConfigMap", "twodfs-proxy")["data"]["config.toml"].count("redis") == 0
    for case in ("sentinel", "cluster"):
        text = find(manifests(case), "ConfigMap", "twodfs-proxy")["data"]["config.toml"]
        assert "PASSWORD" not in text
        assert ("redis_url" in text) == (case == "cluster")
    assert configuration("bare-redis")["cache"]["redis_url"] == "redis://models-twodfs-proxy-redis:6379/0"


def test_sentinels_and_their_two_logins_become_one_url(tmp_path: Path) -> None:
    everything = manifests("sentinel")
    deployment = find(everything, "Deployment", "models-twodfs-proxy")
    process = container(everything, deployment, "proxy", SECRETS, tmp_path)
    file = Path(process.argv[process.argv.index("--config") + 1])
    cache = load({}, process.environment, file).cache
    assert cache.redis_url.get_secret_value() == (
        "rediss+sentinel://proxy:open-sesame@sentinel-0.redis:26379,sentinel-1.redis,[fd00::7]:26380/shared/3"
        "?sentinel_username=watcher&sentinel_password=open-barley"
    )
    files = (cache.redis_ca_file, cache.redis_certificate, cache.redis_key)
    assert [one and one.name for one in files] == ["ca.crt", "tls.crt", "tls.key"]
    assert all(one is not None and one.is_file() for one in files)


@pytest.mark.parametrize(("case", "ports"), [("sentinel", {26379, 26380, 6379}), ("cluster", {6379})])
def test_the_network_policy_lets_the_proxy_reach_every_server_of_redis(case: str, ports: set[int]) -> None:
    policy = find(manifests(case), "NetworkPolicy", "models-twodfs-proxy")
    dns, redis, registry = ({port["port"] for port in rule["ports"]} for rule in policy["spec"]["egress"])
    assert (dns, redis, registry) == ({53}, ports, {5000})


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
    ("values", "url"),
    [
        ({"ingress": {"hosts": ["a.org", "b.org"], "tls": [{"hosts": ["b.org"]}]}}, "https://b.org"),
        ({"ingress": {"hosts": ["a.org"], "tls": [{"hosts": ["b.org"]}]}}, "http://a.org"),
        ({"ingress": {"hosts": ["a.b.org"], "tls": [{"hosts": ["*.b.org"]}]}}, "https://a.b.org"),
        ({"ingress": {"hosts": ["a.org"], "tls": [{"secretName": "all"}]}}, "https://a.org"),
        ({"ingress": {"hosts": ["*.b.org", "b.org"]}}, "http://b.org"),
        ({"ingress": {"hosts": ["*.b.org"]}}, None),
        ({"httpRoute": {"parentRefs": [{"name": "a"}], "hostnames": ["*.b.org", "b.org"]}}, "https://b.org"),
        ({"config": {"public_url": "https://models.example.org/"}}, "https://models.example.org"),
    ],
)
def test_the_address_is_of_a_host_that_answers_so(values: dict[str, Any], url: str | None, tmp_path: Path) -> None:
    file = tmp_path / "values.yaml"
    ways = {name: {"enabled": True, **one} for name, one in values.items() if name != "config"}
    file.write_text(yaml.safe_dump({**values, **ways}))
    everything = helm.manifests(helm.template(file, settings=[UPSTREAM]))
    written = find(everything, "ConfigMap", "models-twodfs-proxy")["data"]["config.toml"]
    assert tomllib.loads(written).get("public_url") == url
