"""From values to the program's configuration: TOML, secrets, and what follows from other values."""

import json
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given
from hypothesis import settings as given_settings
from hypothesis import strategies as st

from proxy.config import load, settings
from tests.deploy.cases import CASES, UPSTREAM, configuration, manifests
from tests.deploy.pod import container
from tests.lab import helm
from tests.lab.helm import CHART, find

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
