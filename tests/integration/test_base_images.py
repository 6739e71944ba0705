"""Every kind of base gives the image that the same base in a registry gives; files are made by real tools."""

import gzip
import hashlib
import io
import json
import os
import shutil
import subprocess
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.lab.engines import DockerEngine
from tests.lab.images import PushedImage, push_image
from tests.lab.layers import tar_layer
from tests.lab.programs import program
from tests.lab.registry import Registry
from tests.lab.workshop import Workshop

PLATFORMS = ("linux/amd64", "linux/arm64")


@pytest.fixture(scope="module")
def base(registry: Registry) -> PushedImage:
    return push_image(
        registry.url,
        "bases/several",
        "v1",
        base=[{"one": b"1" * 5000}, {"two": b"2"}],
        platforms=PLATFORMS,
        platform_files={platform: {"platform": platform.encode()} for platform in PLATFORMS},
    )


def copy(base: PushedImage, target: str, *options: str) -> None:
    argv = [program("skopeo"), "--insecure-policy", "copy", "--quiet", "--src-tls-verify=false", *options]
    subprocess.run([*argv, f"docker://{base.reference()}", target], check=True, capture_output=True)


def build(workshop: Workshop, base: str, name: str, *options: str) -> Any:
    return workshop.made("build", base, workshop.target(name), "--push", "--json", *options).json


def image_layers(workshop: Workshop, name: str, at: int = 0) -> list[str]:
    """Return the diff ids of a pushed image's base."""
    manifest = list(workshop.images(name))[at]
    diff_ids: list[str] = json.loads(workshop.blob(name, manifest["config"]["digest"]))["rootfs"]["diff_ids"]
    for layer in manifest["layers"]:
        workshop.blob(name, layer["digest"])
    assert len(manifest["layers"]) == len(diff_ids) + 1
    return diff_ids


@pytest.mark.parametrize("transport", ["oci", "oci-archive"])
def test_a_layout_gives_what_the_registry_gives(
    workshop: Workshop, base: PushedImage, tmp_path: Path, transport: str
) -> None:
    copy(base, f"{transport}:{tmp_path}/base:v1", "--all")
    expected = build(workshop, base.reference(), "bases/registry")["digest"]
    for name in (f"{transport}:{tmp_path}/base", f"{transport}:{tmp_path}/base:v1"):
        shutil.rmtree(workshop.store)
        made = build(workshop, name, f"bases/{transport}")
        assert (made["digest"], made["platforms"]) == (expected, list(PLATFORMS))


def test_a_compressed_archive_is_read_too(workshop: Workshop, base: PushedImage, tmp_path: Path) -> None:
    copy(base, f"oci-archive:{tmp_path}/base.tar", "--all")
    subprocess.run(["gzip", str(tmp_path / "base.tar")], check=True)
    expected = build(workshop, f"docker://{base.reference()}", "bases/plain")["digest"]
    assert build(workshop, f"oci-archive:{tmp_path}/base.tar.gz", "bases/gz")["digest"] == expected
    assert not list((workshop.store / "tmp").iterdir())


def test_one_platform_of_an_archive_can_be_chosen(workshop: Workshop, base: PushedImage, tmp_path: Path) -> None:
    copy(base, f"oci-archive:{tmp_path}/base.tar", "--all")
    name = f"oci-archive:{tmp_path}/base.tar"
    made = build(workshop, name, "bases/one", "--platform", "linux/arm64")
    assert made["platforms"] == ["linux/arm64"]
    assert image_layers(workshop, "bases/one") == [one.diff_id for one in base.platform("linux/arm64").base]
    refused = workshop.twodfs("build", name, "a/b", "--platform", "linux/s390x")
    assert refused.err == (f"twodfs: {name} has no image for linux/s390x; it has linux/amd64, linux/arm64\n")


def saved_by_skopeo(base: PushedImage, path: Path, docker: DockerEngine) -> None:
    del docker
    copy(base, f"docker-archive:{path}:lab/base:v1", "--override-arch=amd64")


def saved_by_docker(base: PushedImage, path: Path, docker: DockerEngine) -> None:
    docker.pull(base.reference(), "linux/amd64")
    docker.save(base.reference(), path)
    docker.remove(base.reference())


@pytest.mark.parametrize("save", [saved_by_skopeo, saved_by_docker])
def test_a_saved_image_has_the_layers_of_the_image(
    workshop: Workshop,
    base: PushedImage,
    docker_engine: DockerEngine,
    tmp_path: Path,
    save: Callable[[PushedImage, Path, DockerEngine], None],
) -> None:
    save(base, tmp_path / "saved.tar", docker_engine)
    made = build(workshop, f"docker-archive:{tmp_path}/saved.tar", f"bases/{save.__name__.lower()}")
    assert made["platforms"] == ["linux/amd64"]
    expected = [one.diff_id for one in base.platform("linux/amd64").base]
    assert image_layers(workshop, f"bases/{save.__name__}") == expected


def test_an_image_of_the_docker_engine_is_a_base(
    workshop: Workshop, base: PushedImage, docker_engine: DockerEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DOCKER_HOST", docker_engine.host)
    docker_engine.pull(base.reference(), "linux/amd64")
    made = build(workshop, f"docker-daemon:{base.reference()}", "bases/engine")
    bounded = workshop.twodfs("build", f"docker-daemon:{base.reference()}", "a/b", "--max-inflated", "1KB")
    assert "has more than 1000 bytes; --max-inflated allows more" in bounded.err
    docker_engine.remove(base.reference())
    assert made["platforms"] == ["linux/amd64"]
    expected = [one.diff_id for one in base.platform("linux/amd64").base]
    assert image_layers(workshop, "bases/engine") == expected
    gone = workshop.twodfs("build", f"docker-daemon:{base.reference()}", "a/b")
    assert (gone.status, "the Docker Engine does not give" in gone.err) == (1, True)
    assert "No such image" in gone.err
    assert not list((workshop.store).rglob("docker-daemon-*"))


@pytest.mark.parametrize(
    ("host", "sentence"),
    [
        ("tcp://192.0.2.1:2376", "docker-daemon: takes an engine on this machine"),
        ("unix:///nowhere/docker.sock", "no Docker Engine answers at /nowhere/docker.sock: No such file"),
    ],
)
def test_an_engine_that_is_not_here_is_told(
    workshop: Workshop, monkeypatch: pytest.MonkeyPatch, host: str, sentence: str
) -> None:
    monkeypatch.setenv("DOCKER_HOST", host)
    done = workshop.twodfs("build", "docker-daemon:busybox:latest", "a/b")
    assert (done.status, sentence in done.err) == (1, True)


def rewritten(path: Path, **changed: bytes | None) -> Path:
    """Return a copy of an archive; members whose name begins like a key have other content, or are gone."""
    target = path.with_name("rewritten.tar")
    with tarfile.open(path) as old, tarfile.open(target, "w") as new:
        for info in old:
            key = next((key for key in changed if info.name.endswith(key.replace("_", "."))), None)
            content = old.extractfile(info).read() if info.isreg() else b""  # type: ignore[union-attr]
            if key is not None:
                replaced = changed[key]
                if replaced is None:
                    continue
                content = replaced
            info.size = len(content)
            new.addfile(info, io.BytesIO(content))
    return target


def failure(workshop: Workshop, name: str) -> str:
    done = workshop.twodfs("build", name, "a/b")
    assert (done.status, done.out) == (1, "")
    assert "Traceback" not in done.err
    return done.err


def test_a_damaged_layer_is_noticed(workshop: Workshop, base: PushedImage, tmp_path: Path) -> None:
    saved = tmp_path / "saved.tar"
    copy(base, f"docker-archive:{saved}", "--override-arch=amd64")
    with tarfile.open(saved) as archive:
        layers = [one for one in archive if one.isreg() and one.name.endswith(".tar")]
    with saved.open("r+b") as file:
        file.seek(layers[0].offset_data + 600)
        file.write(b"other")
    assert "does not hash to sha256:" in failure(workshop, f"docker-archive:{saved}")


def test_a_damaged_config_is_noticed(workshop: Workshop, base: PushedImage, tmp_path: Path) -> None:
    copy(base, f"docker-archive:{tmp_path}/saved.tar", "--override-arch=amd64")
    with tarfile.open(tmp_path / "saved.tar") as archive:
        (config,) = [one for one in archive.getnames() if one.endswith(".json") and len(one) == 69]
    changed = rewritten(tmp_path / "saved.tar", **{config.replace(".", "_"): b"{}"})
    assert "does not hash to sha256:" in failure(workshop, f"docker-archive:{changed}")


@pytest.mark.parametrize("transport", ["oci-archive", "docker-archive"])
def test_an_archive_of_another_kind_is_said_to_be_one(
    workshop: Workshop, base: PushedImage, tmp_path: Path, transport: str
) -> None:
    other = {"oci-archive": "docker-archive", "docker-archive": "oci-archive"}[transport]
    copy(base, f"{other}:{tmp_path}/base.tar", "--override-arch=amd64")
    said = {"oci-archive": "is no OCI layout", "docker-archive": "it has no manifest.json"}[transport]
    if transport == "docker-archive":  # a layout within is read
        changed = rewritten(tmp_path / "base.tar", index_json=None)
        assert said in failure(workshop, f"{transport}:{changed}")
    else:
        assert said in failure(workshop, f"{transport}:{tmp_path}/base.tar")


def test_among_several_images_the_name_chooses(
    workshop: Workshop, base: PushedImage, docker_engine: DockerEngine, tmp_path: Path, registry: Registry
) -> None:
    other = push_image(registry.url, "bases/other", "v7", base={"seven": b"7"})
    for image in (base, other):
        docker_engine.pull(image.reference(), "linux/amd64")
    docker_engine.save(base.reference(), tmp_path / "saved.tar", other.reference())
    for image in (base, other):
        docker_engine.remove(image.reference())
        copy(image, f"oci:{tmp_path}/layout:{image.repository}", "--override-arch=amd64")
    said = failure(workshop, f"docker-archive:{tmp_path}/saved.tar")
    assert "has several images; say which, behind a colon: " in said
    assert all(image.reference() in said for image in (base, other))
    build(workshop, f"docker-archive:{tmp_path}/saved.tar:{other.reference()}", "bases/chosen")
    assert image_layers(workshop, "bases/chosen") == [one.diff_id for one in other.platform().base]
    build(workshop, f"oci:{tmp_path}/layout:bases/other", "bases/chosen-layout")
    assert image_layers(workshop, "bases/chosen-layout") == [one.diff_id for one in other.platform().base]
    assert "has no image 'none'; it has " in failure(workshop, f"oci:{tmp_path}/layout:none")


def test_a_saved_image_with_compressed_layers(workshop: Workshop, tmp_path: Path) -> None:
    layer = tar_layer({"a": b"a" * 3000}, "gzip", "x")
    config = json.dumps(
        {"architecture": "amd64", "os": "linux", "rootfs": {"type": "layers", "diff_ids": [layer.diff_id]}}
    ).encode()
    table = json.dumps([{"Config": "c.json", "RepoTags": None, "Layers": ["l/layer.tar.gz"]}]).encode()
    with tarfile.open(tmp_path / "saved.tar", "w") as archive:
        for name, content in (
            ("c.json", config),
            ("l/layer.tar.gz", layer.blob.content),
            ("manifest.json", table),
        ):
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    build(workshop, f"docker-archive:{tmp_path}/saved.tar", "bases/compressed")
    (manifest,) = workshop.images("bases/compressed")
    assert manifest["layers"][0]["digest"] == layer.blob.digest
    assert manifest["layers"][0]["mediaType"].endswith("tar+gzip")


@pytest.mark.parametrize("name", ["oci:", "docker-archive::x", "oci-archive:"])
def test_a_transport_without_a_path_is_a_mistake(workshop: Workshop, name: str) -> None:
    done = workshop.twodfs("build", name, "a/b")
    assert (done.status, "names no path" in done.err) == (2, True)


def layout(directory: Path, **settings: object) -> dict[str, Path]:
    """Write a layout with an image of one layer of five bytes; return where its index and blobs are."""
    (directory / "blobs" / "sha256").mkdir(parents=True)
    (directory / "oci-layout").write_text('{"imageLayoutVersion":"1.0.0"}')

    def blob(name: str, media_type: str, body: bytes) -> dict[str, object]:
        digest = hashlib.sha256(body).hexdigest()
        places[name] = directory / "blobs" / "sha256" / digest
        places[name].write_bytes(body)
        return {"mediaType": media_type, "digest": f"sha256:{digest}", "size": len(body)}

    kind = "application/vnd.oci.image"
    places = {"index": directory / "index.json"}
    diff_id = f"sha256:{hashlib.sha256(b'layer').hexdigest()}"
    rootfs = {"type": "layers", "diff_ids": [diff_id]}
    content = {"os": "linux", "architecture": "amd64", "config": settings, "rootfs": rootfs}
    config = json.dumps(content).encode()
    manifest = {
        "schemaVersion": 2,
        "config": blob("config", f"{kind}.config.v1+json", config),
        "layers": [blob("layer", f"{kind}.layer.v1.tar", b"layer")],
    }
    entry = blob("manifest", f"{kind}.manifest.v1+json", json.dumps(manifest).encode())
    places["index"].write_text(json.dumps({"schemaVersion": 2, "manifests": [entry]}))
    return places


def test_a_file_goes_into_the_workdir_of_the_base_and_never_takes_its_place(workshop: Workshop, tmp_path: Path) -> None:
    layout(tmp_path / "base", WorkingDir="/models/llm")
    base, target = f"oci:{tmp_path / 'base'}", workshop.target("bases/workdir")
    recipe = workshop.directory / "2dfs.json"

    def write(dst: str) -> None:
        recipe.write_text(json.dumps({"allotments": [{"src": "a.bin", "dst": dst, "row": 0, "col": 0}]}))

    for dst, what in (("/models/llm", "the base's WORKDIR"), ("/models", "a directory of the base")):
        write(dst)
        done = workshop.twodfs("build", base, target)
        assert (done.status, done.out) == (2, "")
        assert f"2dfs.json: '{dst}' is {what}, and a file would take its place; write '{dst}/'" in done.err
        assert "in 'allotments[0].src'" in done.err
    write("/models/llm/")
    workshop.made("build", base, target, "--push", "--compression", "none")
    (manifest,) = workshop.images("bases/workdir")
    (cell,) = workshop.field("bases/workdir", manifest)
    blob = workshop.blob("bases/workdir", f"sha256:{cell['digest']}")
    with tarfile.open(fileobj=io.BytesIO(blob)) as tar:
        assert tar.getnames() == ["models/llm/a.bin"]


@pytest.mark.parametrize("part", ["index", "manifest", "config", "layer"])
@pytest.mark.parametrize("what", ["pipe", "device", "link", "endless"])
def test_what_is_no_file_of_a_layout_is_refused_and_nobody_waits(
    workshop: Workshop, tmp_path: Path, part: str, what: str
) -> None:
    place = layout(tmp_path / "base")[part]
    place.unlink()
    sentence = "is refused: it is a link that leads out of"
    if what == "pipe":
        os.mkfifo(place)
        sentence = "is no OCI layout" if part == "index" else "it is a pipe, and has to be a regular file"
    elif what == "device":
        place.symlink_to("/dev/zero")
        sentence = "is no OCI layout" if part == "index" else sentence
    elif what == "link":
        (tmp_path / "elsewhere").write_bytes(b"layer")
        place.symlink_to("../../../elsewhere" if part != "index" else "../elsewhere")
    else:
        with place.open("wb") as sparse:
            sparse.truncate(10**12)
        sentence = "has more than"
    done = workshop.twodfs("build", f"oci:{tmp_path / 'base'}", "a/b")
    assert (done.status, done.out, done.err.count("\n")) == (1, "", 1), done.err
    assert sentence in done.err


def test_what_a_base_inflates_to_has_a_limit_that_can_be_set(workshop: Workshop, tmp_path: Path) -> None:
    with gzip.open(tmp_path / "bomb.tar.gz", "wb", compresslevel=1) as bomb:
        for _ in range(20):
            bomb.write(bytes(1_000_000))
    name = f"oci-archive:{tmp_path / 'bomb.tar.gz'}"
    done = workshop.twodfs("build", name, "a/b", "--max-inflated", "10MB")
    assert (done.status, done.err.count("\n")) == (1, 1)
    assert "inflates to more than 10000000 bytes, and is refused; --max-inflated allows more" in done.err
    assert not any((workshop.store / "tmp").iterdir())
    assert "is no OCI layout" in workshop.twodfs("build", name, "a/b", "--max-inflated", "20MB").err
    assert workshop.twodfs("build", name, "a/b", "--max-inflated", "much").status == 2
    told = " ".join(workshop.made("build", "--help").out.split())
    assert "--max-inflated SIZE" in told
    assert "100 times its own size by default, at least 1GB" in told


def test_a_saved_layer_whose_gzip_stream_is_damaged_is_told(workshop: Workshop, tmp_path: Path) -> None:
    tar = b"a line of text\n" * 1000
    packed = bytearray(gzip.compress(tar))
    packed[10] ^= 0xFF  # where the stream says how it is compressed
    rootfs = {"type": "layers", "diff_ids": [f"sha256:{hashlib.sha256(tar).hexdigest()}"]}
    config = json.dumps({"os": "linux", "architecture": "amd64", "rootfs": rootfs}).encode()
    table = json.dumps([{"Config": "c.json", "RepoTags": ["a:v1"], "Layers": ["l.tar"]}]).encode()
    with tarfile.open(tmp_path / "saved.tar", "w") as archive:
        for name, content in (("manifest.json", table), ("c.json", config), ("l.tar", bytes(packed))):
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    done = workshop.twodfs("build", f"docker-archive:{tmp_path / 'saved.tar'}", "a/b")
    assert (done.status, done.err.count("\n")) == (1, 1)
    assert "l.tar of " in done.err
    assert "is damaged, it cannot be decompressed" in done.err
