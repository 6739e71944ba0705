"""The image that `deploy/Dockerfile` makes: built without a network, run as strictly as the chart runs it."""

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from proxy.confinement.field_body import MOST_HERE
from tests.lab.command import CommandError
from tests.lab.engines import DockerEngine
from tests.lab.fields import cell_hex, large_field, push_bare_field
from tests.lab.images import push_field_image
from tests.lab.process import answers_http, free_port
from tests.lab.python_base import python_base
from tests.lab.registry import Registry
from tests.lab.registry_client import RegistryClient
from tests.lab.waiting import wait_until

ROOT = Path(__file__).parents[2]
CONTEXT = (
    "twodfs",
    "proxy",
    "deploy",
    "LICENSE",
    "requirements.lock",
    "requirements-all.lock",
    ".dockerignore",
)
BUILD, RUNTIME, IMAGE = "lab/python-build", "lab/python-runtime", "lab/twodfs-proxy:test"
MOST_BYTES = 120_000_000
CELLS = {(0, 0): {"a": b"1"}, (0, 1): {"b": b"2"}}


@pytest.fixture(scope="module")
def image(docker_engine: DockerEngine, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Any]]:
    """Build the image on bases made of this machine's Python; returns what the engine knows of it."""
    directory = tmp_path_factory.mktemp("image")
    for name, for_builds in ((BUILD, True), (RUNTIME, False)):
        archive = python_base(directory, for_builds=for_builds)
        docker_engine.import_root(archive, name)
        archive.unlink()
    context = directory / "context"
    for name in CONTEXT:
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
        (context / name).parent.mkdir(parents=True, exist_ok=True)
        copy(ROOT / name, context / name)
    download_wheels(context / "wheels")
    arguments = {"BASE": BUILD, "RUNTIME": RUNTIME, "PIP": "--no-index --find-links /context/wheels"}
    options = [part for name, value in arguments.items() for part in ("--build-arg", f"{name}={value}")]
    docker_engine.build(context, "deploy/Dockerfile", IMAGE, "--network", "none", *options)
    yield docker_engine.inspect(IMAGE)
    for name in (IMAGE, RUNTIME, BUILD):
        docker_engine.remove(name)


def download_wheels(place: Path) -> None:
    pip = (sys.executable, "-m", "pip", "--quiet", "--quiet", "--disable-pip-version-check", "download")
    options = ("--require-hashes", "--only-binary", ":all:", "--dest", str(place))
    lock = ("--requirement", str(ROOT / "requirements.lock"))
    subprocess.run((*pip, *options, *lock), check=True, stdin=subprocess.DEVNULL, timeout=300)


def test_it_is_small(image: dict[str, Any]) -> None:
    assert image["Size"] < MOST_BYTES


def test_it_runs_as_nobody_and_says_what_it_is(image: dict[str, Any]) -> None:
    config = image["Config"]
    assert config["User"] == "65532:65532"
    assert config["Entrypoint"] == ["twodfs-proxy"]
    assert config["Healthcheck"]["Test"] == ["CMD", "twodfs-proxy-health"]
    assert config["Labels"]["org.opencontainers.image.licenses"] == "Apache-2.0"
    assert not [one for one in config["Env"] if one.startswith("TWODFS_PROXY_")], "they would win over a file"


def test_its_bill_of_materials_is_the_lock(image: dict[str, Any], docker_engine: DockerEngine) -> None:
    place = image["Config"]["Labels"]["org.cyclonedx.sbom"]
    program = f"print(open({place!r}).read())"
    bill = json.loads(docker_engine.run("--entrypoint=python3", IMAGE, "-c", program))
    assert (bill["bomFormat"], bill["specVersion"]) == ("CycloneDX", "1.5")
    named = {one["name"]: one["version"] for one in bill["components"]}
    pins = dict(re.findall(r"^([a-z0-9._-]+)==(\S+)", (ROOT / "requirements.lock").read_text(), re.MULTILINE))
    assert {"aiohttp", "redis", "pydantic-core", "python"} <= named.keys()
    assert {name: version for name, version in named.items() if name != "python"}.items() <= pins.items()


def test_it_serves_partitions_read_only_and_without_capabilities(
    image: dict[str, Any], docker_engine: DockerEngine, registry: Registry
) -> None:
    assert image
    pushed = push_field_image(registry.url, "image/served", "v1", cells=CELLS)
    port, admin = free_port(), free_port()
    settings = {"UPSTREAM": registry.url, "LISTEN": f"127.0.0.1:{port}", "ADMIN": f"127.0.0.1:{admin}"}
    variables = [part for name, value in settings.items() for part in ("--env", f"TWODFS_PROXY_{name}={value}")]
    strict = ("--read-only", "--cap-drop", "ALL", "--security-opt", "no-new-privileges")
    container = docker_engine.start_container(IMAGE, *strict, *variables)
    wait_until(answers_http(admin, "/readyz"), "ready")
    confined = docker_engine.execute(container, "python3", "-c", "print(open('/proc/1/status').read())")
    said = dict(re.findall(r"^(\w+):\t(\w+)$", confined, re.MULTILINE))
    assert (int(said["CapEff"], 16), said["NoNewPrivs"], said["Seccomp"]) == (0, "1", "2")
    docker_engine.execute(container, "twodfs-proxy-health", f"http://127.0.0.1:{admin}/healthz")
    with pytest.raises(CommandError, match="refused"):
        docker_engine.execute(container, "twodfs-proxy-health", f"http://127.0.0.1:{free_port()}/healthz")
    with RegistryClient(f"http://127.0.0.1:{port}") as client:
        answer = client.get_manifest(pushed.repository, "v1--0.0.0.0")
        assert answer.status == 200
        push_bare_field(registry.url, "image/large", "v1", field := large_field(150, 200))
        assert len(field.content) > MOST_HERE, "else no process of its own parses it"
        large = client.get_manifest("image/large", "v1--149.199.149.199")
    assert large.status == 200, large.body
    assert json.loads(large.body)["layers"][-1]["digest"] == f"sha256:{cell_hex(149, 199)}"
    assert docker_engine.stop_container(container) == 0


def test_a_new_volume_belongs_to_its_user(
    image: dict[str, Any], docker_engine: DockerEngine, registry: Registry
) -> None:
    """An edge node as deploy/compose.edge.yaml runs it; nobody makes its directory beforehand."""
    assert image
    pushed = push_field_image(registry.url, "image/edge", "v1", cells=CELLS)
    port, admin = free_port(), free_port()
    settings = {"UPSTREAM": registry.url, "LISTEN": f"127.0.0.1:{port}", "ADMIN": f"127.0.0.1:{admin}"}
    settings["EDGE_DIRECTORY"] = "/var/lib/twodfs-edge"
    variables = [part for name, value in settings.items() for part in ("--env", f"TWODFS_PROXY_{name}={value}")]
    strict = ("--read-only", "--cap-drop", "ALL", "--security-opt", "no-new-privileges")
    volume = ("--volume", "twodfs-edge:/var/lib/twodfs-edge")
    for _ in range(2):
        container = docker_engine.start_container(IMAGE, *strict, *volume, *variables)
        wait_until(answers_http(admin, "/readyz"), "ready")
        layer = pushed.allotments[0, 1].blob.digest
        with RegistryClient(f"http://127.0.0.1:{port}") as client:
            assert client.get_manifest(pushed.repository, "v1--0.1.0.1").status == 200
            assert client.request("GET", f"/v2/{pushed.repository}/blobs/{layer}").status == 200
        kept = f"/var/lib/twodfs-edge/blobs/sha256/{layer.removeprefix('sha256:')}"
        assert (
            docker_engine.execute(container, "python3", "-c", f"import os; print(os.stat({kept!r}).st_uid)")
            == "65532\n"
        )
        assert docker_engine.stop_container(container) == 0
