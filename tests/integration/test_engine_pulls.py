"""Real engines pull partitions through the proxy and unpack exactly the base and the selected cells."""

import io
import json
import tarfile
from pathlib import Path

import pytest

from tests.lab.documents import OCI, FieldStyle
from tests.lab.engines import Containerd, DockerEngine, Podman, PullFailed
from tests.lab.engines.engine import Engine, RunningEngine
from tests.lab.images import Kind, PushedImage, busybox_base, push_field_image
from tests.lab.programs import program
from tests.lab.proxy import Proxy
from tests.lab.registry import Registry
from tests.lab.registry_client import RegistryClient
from tests.lab.workshop import Workshop

CELLS = {
    (row, col): {
        f"models/row{row}/col{col}.bin": f"weights of {row}/{col} ".encode() * 1000,
        f"models/readme-{row}-{col}": b"",
    }
    for row in range(4)
    for col in range(3)
}
KINDS: list[Kind] = ["oci-index", "oci-manifest", "docker-manifest", "docker-list"]
ENGINES = ["docker_engine", "containerd_engine", "podman_engine", "skopeo_engine"]

MERGED_MODES = ["1777", "755", "755"]


@pytest.fixture(params=ENGINES)
def engine(request: pytest.FixtureRequest) -> Engine:
    started: Engine = request.getfixturevalue(request.param)
    return started


@pytest.fixture(scope="module")
def runnable(registry: Registry) -> PushedImage:
    return push_field_image(
        registry.url, "engines/runnable", "v1", cells=CELLS, base=busybox_base(), platforms=("linux/amd64",)
    )


@pytest.fixture
def merged(workshop: Workshop, docker_engine: DockerEngine, tmp_path: Path) -> str:
    """An image whose base has `/bin -> usr/bin` and a `/tmp` for all, and allotments with files there."""
    write_merged_root(tmp_path / "root.tar")
    base = workshop.target("engines/merged-base")
    docker_engine.import_root(tmp_path / "root.tar", base)
    docker_engine.push(base)
    allotments = [
        {"src": "a.bin", "dst": "/bin/tool", "row": 0, "col": 0},
        {"src": "tokenizer", "dst": "/tmp", "row": 0, "col": 1},
        {"src": "b.bin", "dst": "/opt/new/b.bin", "row": 0, "col": 2},
    ]
    (workshop.directory / "2dfs.json").write_text(json.dumps({"allotments": allotments}))
    workshop.made("build", base, workshop.target("engines/merged"), "--push")
    return "engines/merged"


@pytest.mark.parametrize("kind", KINDS)
def test_an_engine_unpacks_base_and_selected_cells_and_nothing_else(
    registry: Registry, proxy: Proxy, engine: Engine, kind: Kind
) -> None:
    image = push_field_image(registry.url, f"engines/{kind}", "v1", cells=CELLS, kind=kind)
    reference = image.reference(proxy.address, "v1--0.0.1.1--1.0.2.1")
    engine.pull(reference)
    expected = image.files(image.select((0, 0, 1, 1), (1, 0, 2, 1)))
    assert engine.files(reference) == expected
    assert len([path for path in expected if path.endswith(".bin")]) == 6
    engine.remove(reference)


def test_several_platforms_attestations_an_anchor_and_holes(registry: Registry, proxy: Proxy, engine: Engine) -> None:
    image = push_field_image(
        registry.url,
        "engines/rich",
        "v2",
        cells={cell: files for cell, files in CELLS.items() if cell != (1, 1)},
        platforms=("linux/arm64", "linux/amd64"),
        platform_files={"linux/arm64": {"arch": b"arm64"}, "linux/amd64": {"arch": b"amd64"}},
        attestations=True,
        anchor=True,
        field_style=FieldStyle(sizes=True, media_types=True),
    )
    reference = image.reference(proxy.address, "v2--1.0.1.2")
    for platform in ("linux/amd64", "linux/arm64"):
        engine.pull(reference, platform)
        assert engine.files(reference) == image.files([(1, 0), (1, 2)], platform)
        engine.remove(reference)


def test_plain_tar_allotments_unpack_as_well(registry: Registry, proxy: Proxy, engine: Engine) -> None:
    image = push_field_image(
        registry.url,
        "engines/plain-tar",
        "v1",
        cells=CELLS,
        allotment_compression="none",
        field_style=FieldStyle(sizes=True, media_types=True),
    )
    reference = image.reference(proxy.address, "v1--3.0.3.2")
    engine.pull(reference)
    assert engine.files(reference) == image.files(image.select((3, 0, 3, 2)))
    engine.remove(reference)


def test_a_pull_by_pinned_digest_gets_the_same_files(proxy: Proxy, engine: Engine, runnable: PushedImage) -> None:
    digest = head_digest(proxy, runnable, "v1--2.0.2.2")
    reference = f"{proxy.address}/{runnable.repository}@{digest}"
    engine.pull(reference)
    assert engine.files(reference) == runnable.files(runnable.select((2, 0, 2, 2)))
    engine.remove(reference)


def test_a_selection_outside_the_field_fails_with_a_sentence_that_helps(
    proxy: Proxy, engine: Engine, runnable: PushedImage
) -> None:
    with pytest.raises(PullFailed) as caught:
        engine.pull(runnable.reference(proxy.address, "v1--7.7.8.8"))
    # containerd asks by HEAD first, which has no body, and says "not found" in its own words.
    said = "not found" if engine.name == "containerd" else "rows 0..3, columns 0..2"
    assert said in caught.value.output


@pytest.mark.parametrize("name", ["docker_engine", "podman_engine", "containerd_engine"])
def test_a_container_reads_a_selected_file_and_finds_no_other(
    request: pytest.FixtureRequest, proxy: Proxy, runnable: PushedImage, name: str
) -> None:
    engine = request.getfixturevalue(name)
    reference = runnable.reference(proxy.address, "v1--0.1.0.1")
    engine.pull(reference)
    content = CELLS[0, 1]["models/row0/col1.bin"].decode()
    assert engine.run(reference, "/bin/busybox", "cat", "/models/row0/col1.bin") == content
    listed = engine.run(reference, "/bin/busybox", "find", "/models", "-type", "f")
    assert set(listed.split()) == {"/models/row0/col1.bin", "/models/readme-0-1"}
    engine.remove(reference)


def test_a_bases_links_and_permissions_survive_in_podmans_copies(
    proxy: Proxy, merged: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its driver "vfs" unpacks a layer upon a copy of those below; overlays have no way to keep the link."""
    monkeypatch.setattr("tests.lab.engines.podman.holds_overlays", lambda _directory: False)
    (tmp_path / "podman").mkdir()
    with Podman.start(tmp_path / "podman") as podman:
        reference = f"{proxy.address}/{merged}:v1--0.0.0.2"
        podman.pull(reference)
        assert looked_at(podman, reference, "/bin/busybox readlink /bin") == ["usr/bin"]
        assert looked_at(podman, reference, "/bin/busybox stat -c %s /usr/bin/tool") == ["100000"]
        assert looked_at(podman, reference, "/bin/busybox stat -c %a /tmp /opt /opt/new") == MERGED_MODES


def test_a_bases_permissions_survive_in_containerds_overlays(
    proxy: Proxy, merged: str, containerd_engine: Containerd
) -> None:
    reference = f"{proxy.address}/{merged}:v1--0.1.0.2"
    containerd_engine.pull(reference)
    assert looked_at(containerd_engine, reference, "/bin/busybox stat -c %a /tmp /opt /opt/new") == MERGED_MODES
    assert looked_at(containerd_engine, reference, "/bin/busybox ls /tmp") == ["merges.txt", "vocab.json"]
    containerd_engine.remove(reference)


def test_docker_takes_as_many_layers_as_the_default_limit_allows(
    registry: Registry, proxy: Proxy, docker_engine: DockerEngine
) -> None:
    cells = {(0, col): {f"cell{col}": b"%d" % col} for col in range(126)}
    image = push_field_image(registry.url, "engines/deep", "v1", cells=cells)
    reference = image.reference(proxy.address, "v1--0.0.0.123")
    docker_engine.pull(reference)
    assert docker_engine.files(reference) == image.files(image.select((0, 0, 0, 123)))
    with pytest.raises(PullFailed, match="needs more than 125 layers"):
        docker_engine.pull(image.reference(proxy.address, "v1--0.0.0.125"))
    docker_engine.remove(reference)


def head_digest(proxy: Proxy, image: PushedImage, tag: str) -> str:
    target = f"/v2/{image.repository}/manifests/{tag}"
    with RegistryClient(proxy.url) as client:
        return client.request("HEAD", target, headers={"Accept": OCI.index}).headers["docker-content-digest"]


def looked_at(engine: RunningEngine, reference: str, command: str) -> list[str]:
    return engine.run(reference, *command.split()).split()


def write_merged_root(path: Path) -> None:
    """Write a root file system as distributions have it: `/bin` is a link, anyone may write to `/tmp`."""
    content = Path(program("busybox")).read_bytes()
    with tarfile.open(path, "w") as archive:
        for name, kind, mode in (
            ("bin", tarfile.SYMTYPE, 0o777),
            ("tmp", tarfile.DIRTYPE, 0o1777),
            ("usr", tarfile.DIRTYPE, 0o755),
            ("usr/bin", tarfile.DIRTYPE, 0o755),
            ("usr/bin/busybox", tarfile.REGTYPE, 0o755),
        ):
            entry = tarfile.TarInfo(name)
            entry.type, entry.mode = kind, mode
            entry.linkname = "usr/bin" if kind == tarfile.SYMTYPE else ""
            entry.size = len(content) if kind == tarfile.REGTYPE else 0
            archive.addfile(entry, io.BytesIO(content))
