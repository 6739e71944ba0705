"""What `make release` makes: twice the same bytes, and each file is of use by itself."""

import json
import sys
import tarfile
import venv
from importlib.metadata import distributions
from pathlib import Path

import yaml

from tests.deploy.conftest import make_release
from tests.lab import command, helm
from tests.lab.engines import DockerEngine, Podman
from tests.lab.images import push_field_image
from tests.lab.process import Launch, Server, answers_http, free_port
from tests.lab.programs import environment
from tests.lab.registry import Registry
from tests.lab.registry_client import RegistryClient
from tests.lab.waiting import wait_until
from twodfs import __version__

ROOT = Path(__file__).parents[2]
CLIENT = f"twodfs-{__version__}-py3-none-any.whl"
SERVICE = f"twodfs_proxy-{__version__}-py3-none-any.whl"
SOURCE = f"twodfs_proxy-{__version__}.tar.gz"
CHART = f"twodfs-proxy-{__version__}.tgz"
IMAGE = f"twodfs-proxy-{__version__}-linux-amd64.docker.tar"
BILL = f"twodfs-proxy-{__version__}-linux-amd64.cdx.json"
SUMS = "SHA256SUMS"
CELLS = {(0, 0): {"a": b"1"}, (0, 1): {"b": b"2"}}


def test_two_runs_give_the_same_bytes(release: Path, podman_engine: Podman, tmp_path: Path) -> None:
    """With another clock, place and umask."""
    make_release(podman_engine, tmp_path / "two", zone="Asia/Tokyo", umask=0o077)
    assert (tmp_path / "two" / SUMS).read_text() == (release / SUMS).read_text()


def test_the_checksums_are_of_all_files(release: Path) -> None:
    names = {CLIENT, SERVICE, SOURCE, CHART, IMAGE, BILL}
    assert {file.name for file in release.iterdir()} == names | {SUMS}
    said = command.run(("sh", "-c", f"cd {release} && sha256sum --strict --check {SUMS}"), environment())
    assert {line.split(": ")[0] for line in said.splitlines()} == names


def test_the_source_is_what_git_tracks(release: Path) -> None:
    tracked = set(command.run(("git", "-C", str(ROOT), "ls-files"), environment()).splitlines())
    with tarfile.open(release / SOURCE) as source:
        files = {name.partition("/")[2] for name in source.getnames()}
    assert files - tracked == {"PKG-INFO"}
    assert {"pyproject.toml", "Makefile", "tests/conftest.py", "config.example.toml"} <= files


def test_the_builder_alone_needs_nothing_of_the_service(release: Path, tmp_path: Path) -> None:
    programs = installed(release / CLIENT, tmp_path / "client")
    (packages,) = (programs.parent / "lib").glob("python3*/site-packages")
    names = {one.name.lower() for one in distributions(path=[str(packages)])}
    assert "twodfs" in names
    assert not names & {"aiohttp", "redis", "pydantic", "structlog", "typer", "bcrypt"}
    (tmp_path / "a.bin").write_bytes(b"weights")
    (tmp_path / "2dfs.json").write_text('{"allotments": [{"src": "./a.bin", "dst": "/a.bin", "row": 0, "col": 0}]}')
    variables = environment(XDG_CACHE_HOME=str(tmp_path / "cache"), HOME=str(tmp_path))
    twodfs = str(programs / "twodfs")
    build = f"cd {tmp_path} && {twodfs} build scratch local/model:v1 && {twodfs} inspect local/model:v1"
    assert "1 allotment" in command.run(("sh", "-c", build), variables)


def test_the_service_serves_from_its_wheel(release: Path, registry: Registry, tmp_path: Path) -> None:
    programs = installed(release / SERVICE, tmp_path / "service")
    image = push_field_image(registry.url, "release/wheel", "v1", cells=CELLS)
    port, admin = free_port(), free_port()
    listeners = ("--listen", f"127.0.0.1:{port}", "--admin", f"127.0.0.1:{admin}")
    launch = Launch(
        argv=(str(programs / "twodfs-proxy"), "--upstream", registry.url, *listeners),
        log=tmp_path / "proxy.log",
        ready=answers_http(admin, "/readyz"),
        environment=environment(),
        directory=tmp_path,
    )
    with Server(launch) as proxy:
        proxy.launch()
        with RegistryClient(f"http://127.0.0.1:{port}") as client:
            assert client.get_manifest(image.repository, "v1--0.0.0.0").status == 200


def test_podman_loads_the_image(release: Path, podman_engine: Podman) -> None:
    podman_engine.load(release / IMAGE)
    name = f"localhost/twodfs-proxy:{__version__}"
    assert podman_engine.run(name, "--version").split() == ["twodfs-proxy", __version__]
    podman_engine.remove(name)


def test_docker_loads_the_image_and_it_serves(release: Path, docker_engine: DockerEngine, registry: Registry) -> None:
    docker_engine.load(release / IMAGE)
    name = f"localhost/twodfs-proxy:{__version__}"
    known = docker_engine.inspect(name)
    assert known["Config"]["Healthcheck"]["Test"] == ["CMD", "twodfs-proxy-health"]
    revision = command.run(("git", "-C", str(ROOT), "rev-parse", "HEAD"), environment()).strip()
    assert known["Config"]["Labels"]["org.opencontainers.image.revision"] == revision
    image = push_field_image(registry.url, "release/image", "v1", cells=CELLS)
    port, admin = free_port(), free_port()
    settings = {"UPSTREAM": registry.url, "LISTEN": f"127.0.0.1:{port}", "ADMIN": f"127.0.0.1:{admin}"}
    variables = [part for key, value in settings.items() for part in ("--env", f"TWODFS_PROXY_{key}={value}")]
    container = docker_engine.start_container(name, "--read-only", "--cap-drop", "ALL", *variables)
    wait_until(answers_http(admin, "/readyz"), "ready")
    with RegistryClient(f"http://127.0.0.1:{port}") as client:
        assert client.get_manifest(image.repository, "v1--0.0.0.0").status == 200
    assert docker_engine.stop_container(container) == 0
    docker_engine.remove(name)


def test_the_bill_of_materials_is_that_of_the_image(release: Path) -> None:
    bill = json.loads((release / BILL).read_text())
    assert (bill["bomFormat"], bill["metadata"]["component"]["version"]) == ("CycloneDX", __version__)
    assert {"aiohttp", "redis", "python"} <= {one["name"] for one in bill["components"]}


def test_the_chart_renders_as_its_source_does(release: Path, tmp_path: Path) -> None:
    with tarfile.open(release / CHART) as chart:
        chart.extractall(tmp_path, filter="data")
    packed = tmp_path / "twodfs-proxy"
    assert yaml.safe_load((packed / "Chart.yaml").read_text())["version"] == __version__
    assert not (packed / "ci").exists()
    settings = ("config.upstream.url=http://registry:5000",)
    assert helm.template(settings=settings, chart=packed) == helm.template(settings=settings)


def installed(wheel: Path, place: Path) -> Path:
    """Install a wheel into a new environment; returns where its programs are."""
    venv.create(place)
    pip = (sys.executable, "-m", "pip", "--python", str(place / "bin" / "python"), "--quiet")
    quick = ("--disable-pip-version-check", "--no-compile")
    command.run((*pip, "install", *quick, str(wheel)), environment(PIP_NO_INPUT="1"), seconds=300)
    return place / "bin"
