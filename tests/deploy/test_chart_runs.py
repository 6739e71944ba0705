"""The very command and configuration that the chart renders, run as processes against a real registry."""

import hashlib
import json
import os
import signal
import ssl
import subprocess
from collections.abc import Iterator
from contextlib import closing, contextmanager
from http.client import HTTPConnection, HTTPSConnection
from pathlib import Path
from typing import Any

import pytest
import yaml
from redis import Redis as RedisClient

from tests.deploy.cases import proxy
from tests.deploy.pod import Process, Secrets, container
from tests.lab import command, helm
from tests.lab.certificates import Authority
from tests.lab.documents import OCI
from tests.lab.exposition import Scrape
from tests.lab.images import PushedImage, push_field_image
from tests.lab.mirror_notes import MirrorNotes
from tests.lab.peers import require
from tests.lab.process import Launch, Server, answers_http, free_port, listens
from tests.lab.redis import Redis
from tests.lab.redis_groups import Group, clustered, watched_by_sentinels
from tests.lab.registry import Registry
from tests.lab.registry_client import RegistryClient
from tests.lab.waiting import wait_until

CELLS = {(row, column): {f"{row}-{column}": b"%d%d" % (row, column)} for row in range(2) for column in range(2)}
SECRETS: Secrets = {"redis": {"password": "open-sesame"}, "user": {"username": "ann", "password": "hunter2"}}


def render(directory: Path, values: dict[str, Any]) -> list[helm.Manifest]:
    file = directory / "values.yaml"
    file.write_text(yaml.safe_dump(values))
    return helm.manifests(helm.template(file))


def values_for(registry: Registry, **more: Any) -> dict[str, Any]:
    """Return values for a container that variables keep on the loopback interface."""
    listen, admin = free_port(), free_port()
    return {
        "config": {
            "listen": f"0.0.0.0:{listen}",
            "admin": f"0.0.0.0:{admin}",
            "shutdown_grace": 5,
            "upstream": {"url": registry.url, "connect_timeout": 2.5},
            "cache": {"tag_ttl": 0, "memory": "32MiB"},
        },
        "extraEnv": [
            {"name": "TWODFS_PROXY_LISTEN", "value": f"127.0.0.1:{listen}"},
            {"name": "TWODFS_PROXY_ADMIN", "value": f"127.0.0.1:{admin}"},
        ],
        **more,
    }


@contextmanager
def running(process: Process, directory: Path, ready_at: str, admin: int) -> Iterator[Server]:
    launch = Launch(
        argv=process.argv,
        log=directory / "container.log",
        ready=answers_http(admin, ready_at),
        environment=process.environment,
        directory=directory,
    )
    with Server(launch) as server:
        server.launch()
        yield server


def get(port: int, path: str) -> tuple[int, bytes]:
    connection = HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


def test_the_rendered_container_serves_a_partition(registry: Registry, tmp_path: Path) -> None:
    """Deployment, ConfigMap and Secrets together: probes, Redis with its password, a pull, the end."""
    require("redis-server")
    image = push_field_image(registry.url, "chart/served", "v1", cells=CELLS)
    port = free_port()
    settings = values_for(registry)
    settings["replicaCount"] = 2
    settings["redis"] = {
        "mode": "external",
        "url": f"redis://:$(REDIS_PASSWORD)@127.0.0.1:{port}/0",
        "passwordSecret": {"name": "redis", "key": "password"},
    }
    settings["extraEnv"].append({"name": "TWODFS_PROXY_LOG_LEVEL", "value": "debug"})
    rendered = render(tmp_path, settings)
    deployment = helm.find(rendered, "Deployment", "twodfs-proxy")
    process = container(rendered, deployment, "proxy", SECRETS, tmp_path)
    (spec,) = deployment["spec"]["template"]["spec"]["containers"]
    probes = {name: one["httpGet"] for name, one in spec.items() if name.endswith("Probe")}
    admin = process.ports[probes["readinessProbe"]["port"]]
    with (
        bundled_redis(tmp_path, port),
        running(process, tmp_path, probes["readinessProbe"]["path"], admin) as proxy,
    ):
        assert {name: get(process.ports[one["port"]], one["path"])[0] for name, one in probes.items()} == {
            "startupProbe": 200,
            "livenessProbe": 200,
            "readinessProbe": 200,
        }
        assert b'"redis":"ok"' in get(admin, "/readyz")[1]
        with RegistryClient(f"http://127.0.0.1:{process.ports['registry']}") as client:
            answer = client.get_manifest(image.repository, "v1--0.0.0.1")
        assert answer.status == 200
        found = f"sha256:{hashlib.sha256(answer.body).hexdigest()}"
        assert answer.headers["docker-content-digest"] == found
        assert proxy.stop(deployment["spec"]["template"]["spec"]["terminationGracePeriodSeconds"]) == 0


@pytest.mark.parametrize("kind", ["StatefulSet", "DaemonSet"])
def test_the_rendered_edge_node_is_ready_and_serves_while_the_registry_is_away(kind: str, tmp_path: Path) -> None:
    with Registry.start(tmp_path) as registry:
        image = push_field_image(registry.url, "chart/edge", "v1", cells=CELLS)
        rendered = render(tmp_path, values_for(registry, edge={"enabled": True, "kind": kind}))
        node = container(rendered, proxy(rendered), "proxy", SECRETS, tmp_path / "pod")
        admin = node.ports["admin"]
        with running(node, tmp_path, "/readyz", admin):
            with RegistryClient(f"http://127.0.0.1:{node.ports['registry']}") as client:
                assert_pullable(client, image, "0.0.0.1")
                registry.stop()
                assert_pullable(client, image, "0.1.0.1")
            wait_until(lambda: b"cannot be reached" in get(admin, "/readyz")[1], "that the registry is away")
            assert get(admin, "/readyz")[0] == 200
        kept = tmp_path / "pod" / "var" / "lib" / "twodfs-edge" / "blobs" / "sha256"
        layer = image.allotments[0, 1].blob
        assert (kept / layer.digest.removeprefix("sha256:")).stat().st_size == layer.size


def assert_pullable(client: RegistryClient, image: PushedImage, selection: str) -> None:
    tag = client.get_manifest(image.repository, f"v1--{selection}")
    assert tag.status == 200, tag
    manifest = client.get_manifest(image.repository, json.loads(tag.body)["manifests"][0]["digest"])
    for blob in json.loads(manifest.body)["layers"]:
        answer = client.request("GET", f"/v2/{image.repository}/blobs/{blob['digest']}")
        assert f"sha256:{hashlib.sha256(answer.body).hexdigest()}" == blob["digest"], answer.status


@pytest.mark.parametrize("more", [{}, {"edge": {"enabled": True}}], ids=["deployment", "edge"])
def test_the_rendered_container_serves_each_registry_as_the_notes_tell_nodes(
    registry: Registry, more: dict[str, Any], tmp_path: Path
) -> None:
    """Two registries have another image under the same name; the proxy's login at one comes from a Secret."""
    require("docker-registry")
    robot = ("ann", SECRETS["user"]["password"])
    (tmp_path / "registry").mkdir()
    with Registry.start(tmp_path / "registry", htpasswd=dict([robot])) as guarded:
        images = {
            "plain.example.org": push_field_image(registry.url, "chart/both", "v1", cells=CELLS),
            "guarded.example.org": push_field_image(
                guarded.url, "chart/both", "v1", cells={cell: {"other": b"o"} for cell in CELLS}, credentials=robot
            ),
        }
        values = values_for(registry, **more)
        del values["config"]["upstream"]
        values["upstreams"] = [
            {
                "name": "guarded",
                "url": guarded.url,
                "prefix": "behind/bars",
                "namespaces": ["guarded.example.org"],
                "credentials": {"kind": "file", "username": robot[0]},
                "auth": {"clients": {"allow_anonymous": True}},
                "existingSecret": "user",
                "secretKeys": {"credentials.file": "password"},
            },
            {"name": "plain", "default": True, "url": registry.url, "namespaces": ["plain.example.org"]},
        ]
        rendered = render(tmp_path, values)
        process = container(rendered, proxy(rendered), "proxy", SECRETS, tmp_path / "pod")
        notes = MirrorNotes.of(helm.notes(tmp_path / "values.yaml"))
        assert images.keys() <= notes.hosts.keys()
        with (
            running(process, tmp_path, "/readyz", process.ports["admin"]),
            RegistryClient(f"http://127.0.0.1:{process.ports['registry']}") as client,
        ):
            for name, image in images.items():
                layer = image.allotments[0, 1].blob.digest
                prefix = notes.locations[name][0].partition("/")[2]
                by_prefix = f"{prefix}/{image.repository}" if prefix else image.repository
                for repository, query in ((image.repository, f"?ns={name}"), (by_prefix, "")):
                    assert layer in pulled_layers(client, repository, "v1--0.1.0.1", query)
            unknown = client.request("GET", "/v2/chart/both/manifests/v1--0.1.0.1?ns=other.example.org")
            assert (unknown.status, b"NAME_UNKNOWN" in unknown.body) == (404, True)


def pulled_layers(client: RegistryClient, repository: str, tag: str, query: str) -> set[str]:
    """Pull an image as an engine does, every request with the query; return its layers' digests."""
    index = client.get_manifest(repository, f"{tag}{query}")
    assert index.status == 200, index
    manifest = client.get_manifest(repository, f"{json.loads(index.body)['manifests'][0]['digest']}{query}")
    layers = {layer["digest"] for layer in json.loads(manifest.body)["layers"]}
    for digest in layers:
        answer = client.request("GET", f"/v2/{repository}/blobs/{digest}{query}")
        assert f"sha256:{hashlib.sha256(answer.body).hexdigest()}" == digest, answer.status
    return layers


def test_the_rendered_container_finds_its_redis_behind_sentinels(registry: Registry, tmp_path: Path) -> None:
    require("redis-server")
    with watched_by_sentinels(tmp_path / "group") as group:
        nodes, service = group.url.removeprefix("redis+sentinel://").split("/")
        redis = {"mode": "sentinel", "nodes": nodes.split(","), "sentinel": {"service": service}}
        assert_shared(registry, group, redis, tmp_path)


def test_the_workers_of_the_rendered_container_share_a_redis_cluster(registry: Registry, tmp_path: Path) -> None:
    require("redis-server")
    with clustered(tmp_path / "group") as group:
        nodes = group.url.removeprefix("redis+cluster://").split(",")
        assert_shared(registry, group, {"mode": "cluster", "nodes": nodes}, tmp_path, workers=2)


def test_the_rendered_container_shows_redis_the_certificate_of_its_secret(registry: Registry, tmp_path: Path) -> None:
    """A Redis that wants TLS, a certificate and an ACL user, as all modes but the bundled one may."""
    require("redis-server")
    authority = Authority(tmp_path)
    server, ours = authority.issue("redis", "127.0.0.1"), authority.issue("ours", "proxy.example")
    port = free_port()
    tls = ("--tls-port", str(port), "--tls-ca-cert-file", str(authority.bundle), "--tls-auth-clients", "yes")
    pair = ("--tls-cert-file", str(server.certificate), "--tls-key-file", str(server.key))
    user = ("--user", "proxy", "on", ">open-sesame", "~*", "+@all")
    files = {"ca.crt": authority.bundle, "tls.crt": ours.certificate, "tls.key": ours.key}
    secrets = {**SECRETS, "redis-tls": {name: file.read_text() for name, file in files.items()}}
    redis = {
        "mode": "external",
        "url": f"rediss://proxy:$(REDIS_PASSWORD)@127.0.0.1:{port}/0",
        "passwordSecret": {"name": "redis", "key": "password"},
        "tls": {"existingSecret": "redis-tls", "certificateKey": "tls.crt", "privateKeyKey": "tls.key"},
    }
    image = push_field_image(registry.url, "chart/redis-tls", "v1", cells=CELLS)
    settings = values_for(registry, redis=redis)
    settings["config"]["cache"]["redis_timeout"] = 2
    rendered = render(tmp_path, settings)
    deployment = helm.find(rendered, "Deployment", "twodfs-proxy")
    process = container(rendered, deployment, "proxy", secrets, tmp_path)
    with (
        Redis.start(tmp_path, *tls, *pair, *user) as server_process,
        running(process, tmp_path, "/readyz", process.ports["admin"]),
    ):
        with RegistryClient(f"http://127.0.0.1:{process.ports['registry']}") as client:
            assert client.get_manifest(image.repository, "v1--0.0.0.1").status == 200
        with server_process.client() as plain:
            assert list(plain.scan_iter("*:recipe:*"))


def assert_shared(registry: Registry, group: Group, redis: dict[str, Any], directory: Path, workers: int = 1) -> None:
    """Check that a partition of the rendered container leaves its recipe in Redis, and that it ends."""
    image = push_field_image(registry.url, f"chart/{redis['mode']}", "v1", cells=CELLS)
    settings = values_for(registry, redis=redis)
    settings["config"]["workers"] = workers
    rendered = render(directory, settings)
    deployment = helm.find(rendered, "Deployment", "twodfs-proxy")
    process = container(rendered, deployment, "proxy", SECRETS, directory)
    admin = process.ports["admin"]
    with running(process, directory, "/readyz", admin) as proxy:
        answers = []
        for _ in range(4 * workers):  # a connection each, so that each worker gets some
            with RegistryClient(f"http://127.0.0.1:{process.ports['registry']}") as client:
                answers.append(client.get_manifest(image.repository, "v1--0.0.0.1"))
        assert {(one.status, one.body) for one in answers} == {(200, answers[0].body)}
        digest = hashlib.sha256(answers[0].body).hexdigest()
        assert any(digest.encode() in name for name in group.recipes())
        scrape = Scrape.of(f"http://127.0.0.1:{admin}")
        assert scrape.value("twodfs_proxy_workers") == workers
        assert scrape.value("twodfs_proxy_redis_up") == 1
        counted = scrape.value("twodfs_proxy_requests_total", kind="partition", method="GET", status="200")
        assert counted == len(answers)
        assert proxy.stop(deployment["spec"]["template"]["spec"]["terminationGracePeriodSeconds"]) == 0


def test_the_rendered_container_speaks_tls_with_the_certificate_of_its_secret(
    registry: Registry, tmp_path: Path
) -> None:
    """The registry's port does; probes and metrics stay plain."""
    image = push_field_image(registry.url, "chart/tls", "v1", cells=CELLS)
    authority = Authority(tmp_path)
    pair = authority.issue("listener", "127.0.0.1")
    secrets = {"own": {"tls.crt": pair.certificate.read_text(), "tls.key": pair.key.read_text()}}
    rendered = render(tmp_path, values_for(registry, tls={"enabled": True, "existingSecret": "own"}))
    deployment = helm.find(rendered, "Deployment", "twodfs-proxy")
    process = container(rendered, deployment, "proxy", secrets, tmp_path)
    (spec,) = deployment["spec"]["template"]["spec"]["containers"]
    probes = [one["httpGet"] for name, one in spec.items() if name.endswith("Probe")]
    assert {one.get("scheme", "HTTP") for one in probes} == {"HTTP"}
    with running(process, tmp_path, "/readyz", process.ports["admin"]):
        assert [get(process.ports[one["port"]], one["path"])[0] for one in probes] == [200, 200, 200]
        trusting = ssl.create_default_context(cafile=authority.bundle)
        with closing(
            HTTPSConnection("127.0.0.1", process.ports["registry"], timeout=10, context=trusting)
        ) as connection:
            target = f"/v2/{image.repository}/manifests/v1--0.0.0.1"
            connection.request("GET", target, headers={"Accept": OCI.index})
            answer = connection.getresponse()
            body = answer.read()
        assert answer.status == 200
        assert answer.getheader("docker-content-digest") == f"sha256:{hashlib.sha256(body).hexdigest()}"


@contextmanager
def bundled_redis(directory: Path, port: int) -> Iterator[None]:
    """Run the chart's own Redis, on another port."""
    values = {
        "config": {"upstream": {"url": "http://registry:5000"}},
        "redis": {"mode": "bundled", "passwordSecret": {"name": "redis", "key": "password"}},
    }
    rendered = render(directory, values)
    found = helm.find(rendered, "Deployment", "-redis")
    process = container(rendered, found, "redis", SECRETS, directory)
    launch = Launch(
        argv=(*(str(port) if part == "6379" else part for part in process.argv), "--bind", "127.0.0.1"),
        log=directory / "redis.log",
        ready=listens(port),
        environment=process.environment,
        directory=directory,
        orphaned=signal.SIGKILL,
    )
    with Server(launch) as server:
        server.launch()
        with RedisClient(port=port, password=SECRETS["redis"]["password"]) as client:
            assert client.config_get("maxmemory-policy") == {"maxmemory-policy": "volatile-ttl"}
        yield


@pytest.mark.parametrize(
    ("reference", "password", "said"),
    [
        ("", "hunter2", "the registry's API answers"),
        ("chart/tested:v1--0.0.1.0", "hunter2", "pulled chart/tested:v1--0.0.1.0: sha256:"),
        ("chart/tested:v1--7.7.7.7", "hunter2", "404"),
        ("chart/tested:v1--0.0.1.0", "wrong", "401"),
    ],
)
def test_the_test_pod_tells_whether_a_partition_can_be_pulled(
    tmp_path: Path, reference: str, password: str, said: str
) -> None:
    require("docker-registry")
    storage = tmp_path / "registry"
    storage.mkdir()
    with Registry.start(storage, htpasswd={"ann": "hunter2"}) as registry:
        push_field_image(registry.url, "chart/tested", "v1", cells=CELLS, credentials=("ann", "hunter2"))
        tests = {"reference": reference, "existingSecret": "user"}
        rendered = render(tmp_path, values_for(registry, tests=tests))
        secrets = {"user": {"username": "ann", "password": password}}
        proxy = container(
            rendered, helm.find(rendered, "Deployment", "twodfs-proxy"), "proxy", SECRETS, tmp_path / "proxy"
        )
        pod = container(rendered, helm.find(rendered, "Pod", "-test"), "pull", secrets, tmp_path / "test")
        address = f"http://127.0.0.1:{proxy.ports['registry']}"
        argv = [part.replace("http://models-twodfs-proxy:5000", address) for part in pod.argv]
        assert argv != list(pod.argv)
        with running(proxy, tmp_path, "/readyz", proxy.ports["admin"]):
            ended = subprocess.run(
                argv,
                env={**os.environ, **pod.environment},
                capture_output=True,
                text=True,
                timeout=60,
                check=False,
            )
    assert said in ended.stdout + ended.stderr
    assert (ended.returncode == 0) == (said not in {"404", "401"})


def test_the_test_pod_knows_the_proxy_by_its_certificate_alone(registry: Registry, tmp_path: Path) -> None:
    """The chain has a key of its own in the Secret, and the private key stays with the proxy."""
    pair = Authority(tmp_path).issue("listener", "127.0.0.1")
    secrets = {"own": {"chain.pem": pair.certificate.read_text(), "tls.key": pair.key.read_text()}}
    tls = {"enabled": True, "existingSecret": "own", "certificateKey": "chain.pem"}
    rendered = render(tmp_path, values_for(registry, tls=tls))
    deployment = helm.find(rendered, "Deployment", "twodfs-proxy")
    proxy = container(rendered, deployment, "proxy", secrets, tmp_path / "proxy")
    pod = container(rendered, helm.find(rendered, "Pod", "-test"), "pull", secrets, tmp_path / "test")
    assert [file.name for file in (tmp_path / "test" / "tls").iterdir()] == ["tls.crt"]
    address = f"https://127.0.0.1:{proxy.ports['registry']}"
    argv = [part.replace("https://models-twodfs-proxy:5000", address) for part in pod.argv]
    with running(proxy, tmp_path, "/readyz", proxy.ports["admin"]):
        assert "the registry's API answers" in command.run(argv, {**os.environ, **pod.environment})
