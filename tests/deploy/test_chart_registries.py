"""The chart's several registries: their tables, Secrets and egress, and what the notes tell nodes of them."""

import json
import re
import tomllib
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from pydantic import SecretStr

from proxy.config import FurtherUpstreamConfig, load
from tests.deploy.cases import UPSTREAM, configuration, manifests, proxy, values_of, written
from tests.lab import helm
from tests.lab.command import CommandError
from tests.lab.helm import CHART, Manifest, find
from tests.lab.mirror_notes import MirrorNotes

HUB = {"name": "hub", "url": "https://registry-1.docker.io"}
QUAY = {"name": "quay", "url": "https://quay.io", "prefix": "quay"}
EDGE_PORT = {"enabled": True, "kind": "DaemonSet", "hostPort": 5000}


def file_of(directory: Path, *registries: dict[str, Any], **more: Any) -> Path:
    file = directory / "values.yaml"
    file.write_text(yaml.safe_dump({"upstreams": list(registries), **more}))
    return file


def rendered(directory: Path, *registries: dict[str, Any], **more: Any) -> list[Manifest]:
    return helm.manifests(helm.template(file_of(directory, *registries, **more)))


def test_the_schema_takes_the_tables_that_the_program_takes(tmp_path: Path) -> None:
    tables: list[dict[str, Any]] = [
        {"name": "hub", "url": ["https://registry-1.docker.io"], "prefix": "hub", "read_timeout": "7"},
        {
            "name": "quay",
            "url": "https://quay.io",
            "hosts": "quay.lan, *.quay.lan",
            "credentials": {"kind": "file", "file": "/etc/file"},
            "blobs": {"redirect": "follow", "allowed_networks": "10.0.0.0/8"},
            "auth": {"ttl": 3, "clients": {"htpasswd": "/etc/file"}},
        },
    ]
    file = tmp_path / "config.toml"
    text = next(one for one in rendered(tmp_path, *tables) if one["kind"] == "ConfigMap")["data"]["config.toml"]
    file.write_text(text)
    (quay,) = load({}, {}, file).upstreams
    assert (quay.hosts, quay.auth.ttl, quay.blobs.redirect) == (("quay.lan", "*.quay.lan"), 3, "follow")


def test_the_schema_has_every_setting_of_a_registry_and_every_file() -> None:
    schema = json.loads((CHART / "values.schema.json").read_text())
    jsonschema.Draft202012Validator.check_schema(schema)
    assert "upstreams" not in schema["properties"]["config"]["properties"]
    table = schema["properties"]["upstreams"]["items"]["properties"]
    assert table.keys() == {*FurtherUpstreamConfig.model_fields, "default", "existingSecret", "secretKeys", "egress"}
    assert table["secretKeys"]["properties"].keys() == {
        *("credentials.file", "ca_file", "client_certificate", "client_key"),
        *("auth.clients.htpasswd", "auth.token.keys"),
    }


def test_secrets_become_files_that_only_their_own_table_names() -> None:
    everything = manifests("registries")
    pod = proxy(everything)["spec"]["template"]["spec"]
    (models,) = (one for one in pod["volumes"] if one["name"] == "upstream-models")
    assert models["secret"] == {
        "secretName": "models-registry",
        "defaultMode": 0o440,
        "items": [{"key": key, "path": key} for key in ("ca.crt", "tls.crt", "tls.key")],
    }
    (mount,) = (one for one in pod["containers"][0]["volumeMounts"] if one["name"] == "upstream-models")
    assert mount == {"name": "upstream-models", "mountPath": "/etc/twodfs-proxy/upstreams/models", "readOnly": True}
    tables = {one["name"]: one for one in configuration("registries")["upstream"]}
    assert tables["models"]["client_key"] == "/etc/twodfs-proxy/upstreams/models/tls.key"
    assert tables["quay"]["credentials"]["file"] == "/etc/twodfs-proxy/upstreams/quay/password"
    assert tables["hub"]["credentials"]["file"] == "/etc/twodfs-proxy/upstreams/hub/.dockerconfigjson"
    assert not {"existingSecret", "secretKeys", "egress"} & {key for one in tables.values() for key in one}


def test_the_first_is_the_default_unless_another_says_so(tmp_path: Path) -> None:
    def default(*registries: dict[str, Any]) -> str:
        file = tmp_path / "config.toml"
        text = next(one for one in rendered(tmp_path, *registries) if one["kind"] == "ConfigMap")["data"]["config.toml"]
        file.write_text(text)
        return load({}, {}, file).upstream.name

    assert default(HUB, QUAY) == "hub"
    assert default(HUB, {**QUAY, "default": True}) == "quay"
    assert default({**HUB, "default": False}, QUAY) == "hub"


@pytest.mark.parametrize(
    ("registries", "said"),
    [
        ([{"url": "https://quay.io"}], "missing property 'name'"),
        ([{"name": "quay"}], "missing property 'url'"),
        ([{**QUAY, "name": "Quay"}], "upstreams/0/name"),
        ([{**QUAY, "url": "quay.io"}], re.escape("upstreams[quay].url has quay.io in it, which is no origin")),
        ([{**QUAY, "url": "https://quay.io/v2"}], re.escape("upstreams[quay].url has https://quay.io/v2")),
        ([{**QUAY, "prefx": "a"}], "'prefx' not allowed"),
        ([HUB, {**QUAY, "name": "hub"}], re.escape("upstreams[hub] and upstreams[hub] have the same name hub")),
        ([{**HUB, "prefix": "quay"}, QUAY], re.escape("upstreams[quay] and upstreams[hub] have the same prefix quay")),
        ([{**HUB, "hosts": ["a.lan"]}, {**QUAY, "hosts": "A.lan, b.lan"}], "have the same hosts a.lan"),
        ([{**HUB, "namespaces": ["b.lan"]}, {**QUAY, "namespaces": ["b.lan"]}], "have the same namespaces b.lan"),
        ([{**HUB, "default": True}, {**QUAY, "default": True}], "hub, quay have default true, which is for one alone"),
        ([{**HUB, "auth": {"ttl": 1}}], re.escape("upstreams[hub] is the default registry, whose auth is config.auth")),
        ([{**HUB, "blobs": {"redirect": "pass"}}], "whose blobs is config.blobs"),
        (
            [{**HUB, "existingSecret": "a", "secretKeys": {"auth.clients.htpasswd": "htpasswd"}}],
            "whose auth is config.auth, with its Secrets in secrets",
        ),
        ([{**HUB, "existingSecret": "a"}], "needs existingSecret and secretKeys together"),
        ([{**HUB, "secretKeys": {"ca_file": "ca.crt"}}], "needs existingSecret and secretKeys together"),
        ([{**HUB, "existingSecret": "a", "secretKeys": {"url": "url"}}], "'url' not allowed"),
        (
            [{**HUB, "ca_file": "/ca.crt", "existingSecret": "a", "secretKeys": {"ca_file": "ca.crt"}}],
            re.escape("upstreams[hub].ca_file and its secretKeys have the same setting"),
        ),
        (
            [
                {**HUB, "name": name, "existingSecret": "a", "secretKeys": {"ca_file": "ca.crt"}}
                for name in ("a.b", "a-b")
            ],
            "have the same volume upstream-a-b",
        ),
    ],
)
def test_registries_that_cannot_work_are_refused(registries: list[dict[str, Any]], said: str, tmp_path: Path) -> None:
    with pytest.raises(CommandError, match=said):
        rendered(tmp_path, *registries)


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"config": {"upstream": {"url": "http://a"}}}, "config.upstream.url has no use beside upstreams"),
        (
            {"secrets": {"upstreamPassword": {"existingSecret": "own"}}},
            "the Secret own is for upstream.credentials.password, which upstreams takes the place of",
        ),
        (
            {"extraSecrets": {"ca": {"existingSecret": "own", "key": "ca", "setting": "upstream.ca_file"}}},
            "the Secret own is for upstream.ca_file",
        ),
        ({"extraVolumes": [{"name": "upstream-hub", "emptyDir": {}}]}, "extraVolumes: upstream-hub is there twice"),
        ({"config": {"upstreams": [QUAY]}}, "'upstreams' not allowed"),
    ],
)
def test_what_upstreams_takes_the_place_of_is_refused(more: dict[str, Any], said: str, tmp_path: Path) -> None:
    hub = {**HUB, "existingSecret": "a", "secretKeys": {"ca_file": "ca.crt"}}
    with pytest.raises(CommandError, match=said):
        rendered(tmp_path, hub, **more)


def secret_settings() -> list[str]:
    """Return every setting of a registry that has a secret itself."""

    def below(section: Any, prefix: str) -> list[str]:
        found = []
        for name, field in section.model_fields.items():
            if field.annotation is SecretStr:
                found.append(f"{prefix}{name}")
            elif hasattr(field.annotation, "model_fields"):
                found.extend(below(field.annotation, f"{prefix}{name}."))
        return found

    return below(FurtherUpstreamConfig, "")


def test_no_secret_of_a_registry_gets_into_the_configmap(tmp_path: Path) -> None:
    assert {"credentials.password", "credentials.token"} <= set(secret_settings())
    for setting in (*secret_settings(), "url"):
        table: dict[str, Any] = {**QUAY}
        *sections, name = setting.split(".")
        place = table
        for section in sections:
            place = place.setdefault(section, {})
        place[name] = "https://ann:open-sesame@quay.io"
        with pytest.raises(CommandError) as refused:
            rendered(tmp_path, HUB, table)
        said = refused.value.output
        assert f"upstreams[quay].{setting} has a secret in it" in said
        assert "existingSecret" in said
        assert "open-sesame" not in said


@pytest.mark.parametrize(
    ("url", "rules"),
    [
        ("https://quay.io", [{"ports": [{"port": 443, "protocol": "TCP"}]}]),
        ("http://quay.io:8080/", [{"ports": [{"port": 8080, "protocol": "TCP"}]}]),
        (
            "https://192.0.2.7",
            [{"ports": [{"port": 443, "protocol": "TCP"}], "to": [{"ipBlock": {"cidr": "192.0.2.7/32"}}]}],
        ),
        (
            "http://[fd00::7]:5000",
            [{"ports": [{"port": 5000, "protocol": "TCP"}], "to": [{"ipBlock": {"cidr": "fd00::7/128"}}]}],
        ),
        *(
            (
                f"http://{service}:5000",
                [{"to": [{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "models"}}}]}],
            )
            for service in ("registry.models.svc", "registry-0.registry.models.svc.cluster.local")
        ),
        ("http://registry:5000", [{"to": [{"podSelector": {}}]}]),
        (["https://a.org", "https://b.org"], [{"ports": [{"port": 443, "protocol": "TCP"}]}]),
    ],
)
def test_egress_follows_from_the_url(url: Any, rules: list[dict[str, Any]], tmp_path: Path) -> None:
    everything = rendered(
        tmp_path, {"name": "one", "url": url}, networkPolicy={"enabled": True, "egress": {"enabled": True}}
    )
    dns, *others = find(everything, "NetworkPolicy", "twodfs-proxy")["spec"]["egress"]
    assert {port["port"] for port in dns["ports"]} == {53}
    assert others == rules


def test_each_registry_has_its_egress_and_rules_of_its_own_take_its_place(tmp_path: Path) -> None:
    own = [{"ports": [{"port": 3128}], "to": [{"ipBlock": {"cidr": "198.51.100.0/24"}}]}]
    further = [{"ports": [{"port": 443}], "to": [{"ipBlock": {"cidr": "203.0.113.0/24"}}]}]
    everything = rendered(
        tmp_path,
        {**HUB, "egress": own},
        {**QUAY, "url": "http://quay.io"},
        networkPolicy={"enabled": True, "egress": {"enabled": True, "to": further}},
    )
    rules = find(everything, "NetworkPolicy", "twodfs-proxy")["spec"]["egress"]
    assert rules[1:] == [*own, {"ports": [{"port": 80, "protocol": "TCP"}]}, *further]


def test_the_certificate_has_the_hosts_by_which_clients_choose(tmp_path: Path) -> None:
    everything = rendered(
        tmp_path,
        HUB,
        {**QUAY, "hosts": "quay.lan, *.quay.lan"},
        tls={"enabled": True},
        certificate={"enabled": True, "issuerRef": {"name": "own"}},
    )
    names = find(everything, "Certificate", "twodfs-proxy")["spec"]["dnsNames"]
    assert names[-2:] == ["quay.lan", "*.quay.lan"]
    assert all("twodfs-proxy" in name for name in names[:-2])


@pytest.mark.parametrize(
    ("hosts", "ways", "lost"),
    [
        (["quay.lan"], ["a.org"], "quay.lan, but"),
        (["quay.lan", "b.lan"], ["a.org", "b.lan"], "quay.lan, but"),
        (["quay.a.org"], ["*.a.org"], None),
        (["quay.lan"], ["quay.lan"], None),
        ([], ["a.org"], None),
        (["quay.lan"], [], None),
    ],
)
@pytest.mark.parametrize("way", ["ingress", "httpRoute"])
def test_the_notes_say_which_hosts_lead_nowhere(
    way: str, hosts: list[str], ways: list[str], lost: str | None, tmp_path: Path
) -> None:
    names = {"ingress": "hosts", "httpRoute": "hostnames"}[way]
    ingress = {
        way: {"enabled": bool(ways), names: ways, **({"parentRefs": [{"name": "a"}]} if way != "ingress" else {})}
    }
    notes = helm.notes(file_of(tmp_path, HUB, {**QUAY, "hosts": hosts}, **ingress))
    assert ("Clients choose a registry by" in notes) == (lost is not None)
    assert lost is None or f"Clients choose a registry by {lost} nothing leads" in notes


def test_a_changed_registry_replaces_the_pods(tmp_path: Path) -> None:
    def checksum(*registries: dict[str, Any]) -> str:
        pod = proxy(rendered(tmp_path, *registries))["spec"]["template"]["metadata"]
        return str(pod["annotations"]["checksum/config"])

    assert checksum(HUB, QUAY) == checksum(HUB, {**QUAY, "egress": []})
    assert len({checksum(HUB), checksum(HUB, QUAY), checksum(HUB, {**QUAY, "hosts": ["a.lan"]})}) == len("abc")


def test_one_registry_of_the_list_is_told_as_the_single_one(tmp_path: Path) -> None:
    single = written(helm.manifests(helm.template(settings=[UPSTREAM])))
    listed = written(rendered(tmp_path, {"name": "one", "url": single["upstream"]["url"]}))
    assert listed.pop("upstream") == [{"name": "one", **single.pop("upstream")}]
    assert listed == single


def test_the_notes_have_a_file_of_containerd_for_each_name_of_each_registry() -> None:
    notes = MirrorNotes.of(helm.notes(values_of("registries")))
    assert {name: one["server"] for name, one in notes.hosts.items()} == {
        "quay.io": "https://quay.io",
        "docker.io": "https://registry-1.docker.io",
        "registry.example.org": "https://registry.example.org",
    }
    for one in notes.hosts.values():
        assert one["host"] == {"https://models.example.org": {"capabilities": ["pull", "resolve"]}}
    assert notes.locations == {
        "quay.io": ("models.example.org/quay", False),
        "docker.io": ("models.example.org/hub", False),
        "registry.example.org": ("models.example.org/models", False),
    }
    assert notes.docker == {"registry-mirrors": ["https://models.example.org"]}


@pytest.mark.parametrize(
    ("more", "address"),
    [
        ({}, "http://$CLUSTER_IP:5000"),
        ({"service": {"clusterIP": "10.96.0.50", "port": 80}}, "http://10.96.0.50:80"),
        ({"service": {"clusterIP": "fd00::50"}}, "http://[fd00::50]:5000"),
        ({"service": {"type": "NodePort"}}, "http://$HOST:$PORT"),
        ({"service": {"type": "NodePort", "nodePort": 30500}}, "http://$HOST:30500"),
        ({"service": {"type": "LoadBalancer", "port": 443}, "tls": {"enabled": True}}, "https://$HOST:443"),
        ({"ingress": {"enabled": True, "hosts": ["a.org"], "tls": [{"secretName": "a"}]}}, "https://a.org"),
        ({"ingress": {"enabled": True, "hosts": ["a.org"]}}, "http://a.org"),
        ({"config": {"public_url": "https://b.org:8443"}}, "https://b.org:8443"),
        ({"edge": EDGE_PORT}, "http://127.0.0.1:5000"),
        ({"edge": {**EDGE_PORT, "hostIP": ""}}, "http://127.0.0.1:5000"),
        ({"edge": {**EDGE_PORT, "hostIP": "::1"}, "tls": {"enabled": True}}, "https://[::1]:5000"),
        ({"edge": EDGE_PORT, "config": {"public_url": "https://b.org"}}, "http://127.0.0.1:5000"),
    ],
)
def test_nodes_are_told_the_address_that_they_can_reach(more: dict[str, Any], address: str, tmp_path: Path) -> None:
    if "tls" in more:
        more = {**more, "tls": {**more["tls"], "existingSecret": "own"}}
    notes = helm.notes(file_of(tmp_path, HUB, QUAY, **more))
    told = MirrorNotes.of(notes)
    assert {address} == {host for one in told.hosts.values() for host in one["host"]}
    authority = address.partition("://")[2]
    is_plain = address.startswith("http:")
    assert told.locations == {"docker.io": (authority, is_plain), "quay.io": (f"{authority}/quay", is_plain)}
    assert told.docker["registry-mirrors"] == [address]
    is_local = "127.0.0.1" in address or "[::1]" in address
    assert told.docker.get("insecure-registries", []) == ([authority] if is_plain and not is_local else [])
    for variable in re.findall(r"\$([A-Z_]+)", address):
        assert f"{variable}=$(kubectl " in notes


def test_docker_is_told_of_its_own_registry_alone(tmp_path: Path) -> None:
    assert MirrorNotes.of(helm.notes(file_of(tmp_path, QUAY, HUB))).docker == {}
    named = {**HUB, "hosts": ["*.lan", "hub.lan"]}
    notes = MirrorNotes.of(helm.notes(file_of(tmp_path, QUAY, named, service={"clusterIP": "10.0.0.1"})))
    assert notes.docker["registry-mirrors"] == ["http://hub.lan:5000"]
    assert notes.locations["docker.io"] == ("hub.lan:5000", True)
    assert MirrorNotes.of(helm.notes(settings=[UPSTREAM])).docker == {}


def test_engines_that_cannot_say_which_registry_they_mean_are_not_sent_to_another(tmp_path: Path) -> None:
    quay = {key: value for key, value in QUAY.items() if key != "prefix"}
    notes = helm.notes(file_of(tmp_path, HUB, quay))
    assert set(MirrorNotes.of(notes).locations) == {"docker.io"}
    assert "# quay.io: they do not say that they mean it; give upstreams[quay] hosts, or a prefix" in notes


def test_engines_that_log_in_where_the_default_registry_says_are_told_of_hosts(tmp_path: Path) -> None:
    """A prefix is not in their GET /v2/, whose challenge they answer."""
    remark = "Give upstreams[quay] hosts for that."
    assert remark in helm.notes(file_of(tmp_path, HUB, QUAY))
    notes = helm.notes(file_of(tmp_path, HUB, {**QUAY, "hosts": ["quay.lan"]}, service={"clusterIP": "10.0.0.1"}))
    assert remark not in notes
    assert MirrorNotes.of(notes).locations["quay.io"] == ("quay.lan:5000", True)


@pytest.mark.parametrize(
    ("table", "servers"),
    [
        (
            {"url": "http://registry.models.svc:5000", "namespaces": ["a.org", "b.org:5000"]},
            {"a.org": "https://a.org", "b.org:5000": "https://b.org:5000"},
        ),
        ({"url": "http://registry.models.svc:5000"}, {"registry.models.svc:5000": "http://registry.models.svc:5000"}),
        ({"url": "https://A.org:8443/"}, {"a.org:8443": "https://A.org:8443"}),
        ({"url": "https://index.docker.io"}, {"docker.io": "https://registry-1.docker.io"}),
        (
            {"url": "http://cache.lan:5000", "namespaces": "docker.io"},
            {"cache.lan:5000": "http://cache.lan:5000", "docker.io": "https://registry-1.docker.io"},
        ),
    ],
)
def test_without_the_proxy_nodes_ask_the_registry_that_the_name_means(
    table: dict[str, Any], servers: dict[str, str], tmp_path: Path
) -> None:
    notes = MirrorNotes.of(helm.notes(file_of(tmp_path, {"name": "one", **table})))
    assert {name: one["server"] for name, one in notes.hosts.items()} == servers


def test_the_single_registry_has_its_files_as_well() -> None:
    notes = MirrorNotes.of(helm.notes(values_of("edge-nodes")))
    assert notes.hosts == {
        "registry.example.org": tomllib.loads(
            'server = "https://registry.example.org"\n'
            '[host."http://127.0.0.1:5000"]\ncapabilities = ["pull", "resolve"]\n'
        )
    }
