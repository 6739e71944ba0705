"""The commands of docs/install.md on an empty Debian machine, by each way of installation, to a partition."""

import json
import re
import shutil
import tarfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.lab import command
from tests.lab.empty_debian import EmptyDebian
from tests.lab.engines import DockerEngine, Podman
from tests.lab.images import PushedImage, push_field_image
from tests.lab.namespaces import LAB
from tests.lab.process import Launch, Server, answers_http, free_port
from tests.lab.programs import environment, program
from tests.lab.registry import Registry
from tests.lab.rootfs import apply_layers

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "install.md").read_text()
REPOSITORY = "https://git.example.org/twodfs-proxy.git"
REGISTRY = "registry.example.org:5000"
PROXY = "127.0.0.1:5000"
ADMIN = "127.0.0.1:9464"
PARTITION = {"models/0-0.bin": b"zero\n"}
CELLS = {(0, 0): {"a": b"1"}, (0, 1): {"b": b"2"}}


def blocks(title: str) -> list[str]:
    """Return the blocks of code below this title of the page."""
    (section,) = re.findall(rf"^## {title}\n(.*?)(?=^## )", PAGE, re.MULTILINE | re.DOTALL)
    return re.findall(r"^```\n(.*?)^```", section, re.MULTILINE | re.DOTALL)


def replaced(text: str, places: Mapping[str, str]) -> str:
    """Return the text with each example in it replaced by what is here; each has to be there."""
    for example, here in places.items():
        assert example in text
        text = text.replace(example, here)
    return text


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[EmptyDebian]:
    with EmptyDebian.enter(tmp_path) as started:
        yield started


def files_of(layout: Path) -> dict[str, bytes]:
    """Return the files of the one image in an OCI layout (image-spec, image-layout.md)."""

    def blob(descriptor: Mapping[str, str]) -> bytes:
        return (layout / "blobs" / descriptor["digest"].replace(":", "/")).read_bytes()

    (entry,) = json.loads((layout / "index.json").read_bytes())["manifests"]
    found = json.loads(blob(entry))
    if "manifests" in found:
        (entry,) = found["manifests"]
        found = json.loads(blob(entry))
    return apply_layers(blob(layer) for layer in found["layers"])


def test_the_proxys_wheel(machine: EmptyDebian, release: Path, registry: Registry) -> None:
    install, use = blocks("The proxy's wheel")
    (wheel,) = release.glob("twodfs_proxy-*.whl")
    shutil.copy(wheel, machine.directory)
    proxy, admin = f"127.0.0.1:{free_port()}", free_port()
    typed = replaced(install, {REGISTRY: registry.address, PROXY: proxy})
    commands, start = typed.strip().rsplit("\n", 1)
    machine.shell(commands, directory=LAB)
    argv = (*start.split(), "--admin", f"127.0.0.1:{admin}")
    machine.daemon(*argv, log="proxy.log", ready=answers_http(admin, "/readyz"))
    repository = "install/wheel"
    machine.shell(replaced(use, {PROXY: proxy, "library/model": repository}), directory=LAB)
    assert files_of(machine.directory / "part") == PARTITION


def test_the_builders_own_wheel(machine: EmptyDebian, release: Path, registry: Registry) -> None:
    (typed,) = blocks("The builder's own wheel")
    (wheel,) = release.glob("twodfs-*.whl")
    shutil.copy(wheel, machine.directory)
    places = {REGISTRY: registry.address, "library/model": "install/builder"}
    assert "2 allotments" in machine.shell(replaced(typed, places), directory=LAB)
    with tarfile.open(machine.directory / "part.oci.tar") as archive:
        archive.extractall(machine.directory / "part", filter="data")
    assert files_of(machine.directory / "part") == PARTITION


@contextmanager
def running_image(
    load_and_run: str, release: Path, registry: Registry, directory: Path, variables: Mapping[str, str]
) -> Iterator[str]:
    """Load the image and run it as the page says; yields the proxy's address."""
    proxy, admin = f"127.0.0.1:{free_port()}", free_port()
    places = {REGISTRY: registry.address, PROXY: proxy, ADMIN: f"127.0.0.1:{admin}"}
    load, run = replaced(load_and_run, places).split("\n", 1)
    command.run((program("sh"), "-euc", f"cd {release}\n{load}"), variables)
    launch = Launch(
        argv=(program("sh"), "-euc", f"exec {run}"),
        log=directory / "container.log",
        ready=answers_http(admin, "/readyz"),
        environment=variables,
        directory=directory,
    )
    with Server(launch) as container:
        container.launch()
        yield proxy
        assert container.stop() == 0


def pulled(pull: str, proxy: str, image: PushedImage, variables: Mapping[str, str]) -> str:
    """Pull as the page says; returns the partition's name."""
    places = {PROXY: proxy, "library/model": image.repository}
    typed = replaced(pull, places).strip()
    command.run((program("sh"), "-euc", typed), variables)
    return typed.rpartition(" ")[2]


def test_the_image_with_podman(release: Path, podman_engine: Podman, registry: Registry, tmp_path: Path) -> None:
    image = push_field_image(registry.url, "install/podman", "v1", cells=CELLS)
    (load_and_run, _, pull, _) = blocks("The image")
    variables = podman_engine.environment
    with running_image(load_and_run, release, registry, tmp_path, variables) as proxy:
        name = pulled(pull, proxy, image, variables)
        assert podman_engine.files(name) == image.files([(0, 0)])
    podman_engine.remove(name)


def test_the_image_with_docker(release: Path, docker_engine: DockerEngine, registry: Registry, tmp_path: Path) -> None:
    image = push_field_image(registry.url, "install/docker", "v1", cells=CELLS)
    (_, load_and_run, _, pull) = blocks("The image")
    variables = docker_engine.environment
    with running_image(load_and_run, release, registry, tmp_path, variables) as proxy:
        name = pulled(pull, proxy, image, variables)
        assert docker_engine.files(name) == image.files([(0, 0)])
    docker_engine.remove(name)


@pytest.mark.clone
def test_a_clone(machine: EmptyDebian) -> None:
    (typed,) = blocks("From a clone")
    clone = (program("git"), "clone", "--quiet", "--bare", "--no-hardlinks", str(ROOT))
    command.run((*clone, str(machine.directory / "twodfs-proxy.git")), environment())
    said = machine.shell(replaced(typed, {REPOSITORY: f"{LAB}/twodfs-proxy.git"}), seconds=1200)
    assert "Everything shown was checked, and holds." in said
    assert said.splitlines()[-1].startswith("twodfs-proxy ")


def test_each_way_begins_on_the_same_empty_machine(tmp_path: Path) -> None:
    for at in range(2):
        (tmp_path / str(at)).mkdir()
        with EmptyDebian.enter(tmp_path / str(at)) as machine:
            assert machine.shell("ls /opt; command -v python3 git make || true") == ""
            machine.shell("touch /opt/left-behind /usr/bin/python3; chmod +x /usr/bin/python3")
