"""`twodfs export`: archives that real engines load, cut by the code that the proxy runs."""

import fcntl
import json
import os
import stat
import subprocess
import sys
import tarfile
from pathlib import Path
from typing import Any

import pytest

from tests.lab.documents import FieldStyle
from tests.lab.engines import DockerEngine, Podman
from tests.lab.images import Kind, PushedImage, busybox_base, push_field_image, push_image
from tests.lab.original import push_original
from tests.lab.programs import program
from tests.lab.proxy import Proxy
from tests.lab.registry import Registry
from tests.lab.registry_client import RegistryClient
from tests.lab.rootfs import apply_layers
from tests.lab.workshop import CONTENT, SOURCE, Workshop

CELLS = {
    (row, col): {f"models/{row}/{col}": f"weights {row} {col}".encode() * 100} for row in range(3) for col in range(3)
}


@pytest.fixture(scope="module")
def image(registry: Registry) -> PushedImage:
    return push_field_image(
        registry.url, "export/model", "v1", cells=CELLS, base=busybox_base(), platforms=("linux/amd64",)
    )


@pytest.fixture(scope="module")
def several(registry: Registry) -> PushedImage:
    return push_field_image(
        registry.url,
        "export/several",
        "v1",
        cells=CELLS,
        platforms=("linux/amd64", "linux/arm64"),
        platform_files={"linux/arm64": {"arch": b"arm64"}, "linux/amd64": {"arch": b"amd64"}},
        attestations=True,
        anchor=True,
        field_style=FieldStyle(sizes=True, media_types=True, more={"partitions": {"edge": "0.0.1.1"}}),
    )


def exported(workshop: Workshop, reference: str, file: str, *options: str) -> tuple[Path, Any]:
    done = workshop.made("export", reference, file, "--json", *options)
    path = workshop.directory / file
    assert done.json["bytes"] == path.stat().st_size
    return path, done.json


def skopeo(*arguments: str) -> bytes:
    argv = [program("skopeo"), "--insecure-policy", *arguments]
    return subprocess.run(argv, check=True, capture_output=True).stdout


def layout_files(layout: Path) -> dict[str, bytes]:
    """Return the files of the one image in a layout that skopeo wrote."""

    def blob(digest: str) -> bytes:
        return (layout / "blobs" / digest.replace(":", "/")).read_bytes()

    index = json.loads((layout / "index.json").read_bytes())
    manifest = json.loads(blob(index["manifests"][0]["digest"]))
    return apply_layers(blob(layer["digest"]) for layer in manifest["layers"])


def test_skopeo_reads_an_oci_archive(workshop: Workshop, image: PushedImage, tmp_path: Path) -> None:
    file, made = exported(workshop, image.reference(tag="v1--0.0.1.1"), "model.tar")
    skopeo("copy", f"oci-archive:{file}", f"oci:{tmp_path}/copy")
    assert layout_files(tmp_path / "copy") == image.files(image.select((0, 0, 1, 1)))
    assert (made["format"], made["platforms"]) == ("oci", ["linux/amd64"])


def test_docker_loads_and_runs_a_docker_archive(
    workshop: Workshop, image: PushedImage, docker_engine: DockerEngine
) -> None:
    reference = image.reference(tag="v1--2.0.2.1")
    file, made = exported(workshop, reference, "model.docker.tar")
    assert made["reference"] == reference
    docker_engine.load(file)
    assert docker_engine.files(reference) == image.files(image.select((2, 0, 2, 1)))
    said = docker_engine.run(reference, "/bin/busybox", "cat", "/models/2/1")
    assert said == "weights 2 1" * 100
    docker_engine.remove(reference)


@pytest.mark.parametrize("archive_format", ["oci", "docker"])
def test_podman_loads_both_kinds(
    workshop: Workshop, image: PushedImage, podman_engine: Podman, archive_format: str
) -> None:
    reference = image.reference(tag="v1--0.2.1.2")
    file, _ = exported(workshop, reference, "model.tar", "--format", archive_format)
    podman_engine.load(file)
    assert podman_engine.files(reference) == image.files(image.select((0, 2, 1, 2)))
    podman_engine.remove(reference)


@pytest.mark.parametrize("kind", ["docker-manifest", "docker-list"])
def test_images_of_dockers_own_types_are_exported(
    workshop: Workshop, registry: Registry, docker_engine: DockerEngine, kind: Kind, tmp_path: Path
) -> None:
    image = push_field_image(registry.url, f"export/{kind}", "v1", cells=CELLS, kind=kind)
    reference = image.reference(tag="v1--0.0.0.1")
    docker_engine.load(exported(workshop, reference, "model.docker.tar")[0])
    assert docker_engine.files(reference) == image.files(image.select((0, 0, 0, 1)))
    docker_engine.remove(reference)
    file, _ = exported(workshop, reference, "model.tar")
    skopeo("copy", f"oci-archive:{file}", f"oci:{tmp_path}/copy")
    assert layout_files(tmp_path / "copy") == image.files(image.select((0, 0, 0, 1)))


@pytest.mark.parametrize("tag", ["v1--edge", "v1--all", "v1--base", "v1+0.0.1.1", "v1--2.2.2.2--0.0.0.1"])
def test_the_partition_is_the_proxys(workshop: Workshop, several: PushedImage, proxy: Proxy, tag: str) -> None:
    _, made = exported(workshop, several.reference(tag=tag), "model.tar")
    with RegistryClient(proxy.url) as client:
        answer = client.get_manifest(several.repository, tag)
    assert made["digest"] == answer.headers["docker-content-digest"]
    assert made["reference"] == several.reference(tag=tag.replace("+", "--"))
    assert made["platforms"] == ["linux/amd64", "linux/arm64"]


def test_one_platform_is_written_where_one_is_asked_for(
    workshop: Workshop, several: PushedImage, tmp_path: Path
) -> None:
    reference = several.reference(tag="v1--edge")
    file, made = exported(workshop, reference, "model.tar", "--platform", "linux/arm64")
    assert made["platforms"] == ["linux/arm64"]
    skopeo("copy", f"oci-archive:{file}", f"oci:{tmp_path}/copy")
    expected = several.files(several.select((0, 0, 1, 1)), "linux/arm64")
    assert layout_files(tmp_path / "copy") == expected
    for options, said in [
        (("--platform", "linux/s390x"), "has no image for linux/s390x; it has linux/amd64, linux/arm64"),
        (("--format", "docker"), "is for linux/amd64, linux/arm64; a docker archive holds one, --platform"),
    ]:
        refused = workshop.twodfs("export", reference, "no.tar", *options)
        assert (refused.status, refused.out) == (1, "")
        assert said in refused.err
    assert [one.name for one in workshop.directory.iterdir() if "tar" in one.name] == ["model.tar"]


def test_a_whole_image_goes_through_an_archive_with_its_field(
    workshop: Workshop, several: PushedImage, registry: Registry, proxy: Proxy
) -> None:
    file, made = exported(workshop, several.reference(), "whole.tar")
    assert made["digest"] == several.digest
    target = f"{registry.address}/export/moved:v1"
    skopeo("copy", "--all", "--dest-tls-verify=false", f"oci-archive:{file}", f"docker://{target}")
    with RegistryClient(proxy.url) as client:
        for repository in (several.repository, "export/moved"):
            answer = client.get_manifest(repository, "v1--edge")
            manifest = json.loads(answer.body)["manifests"][0]["digest"]
            layers = json.loads(client.get_manifest(repository, manifest).body)["layers"]
            for layer in layers:
                assert client.request("HEAD", f"/v2/{repository}/blobs/{layer['digest']}").status == 200
    refused = workshop.twodfs("export", several.reference(), "no.docker.tar", "--platform", "linux/amd64")
    assert "has a field, which no engine can load; export a partition of it, as " in refused.err


def test_an_image_of_the_store_needs_no_registry(workshop: Workshop, tmp_path: Path) -> None:
    recipe = json.loads((workshop.directory / "2dfs.json").read_bytes())
    recipe["partitions"] = {"top": "0.0.0.2"}
    (workshop.directory / "2dfs.json").write_text(json.dumps(recipe))
    target = "127.0.0.1:1/export/offline:v1"
    workshop.made("build", "scratch", target)
    file, _ = exported(workshop, f"{target}--top", "offline.tar")
    skopeo("copy", f"oci-archive:{file}", f"oci:{tmp_path}/copy")
    assert layout_files(tmp_path / "copy") == CONTENT[0, 0] | CONTENT[0, 2]


@pytest.mark.parametrize("archive_format", ["oci", "docker"])
def test_the_same_image_gives_the_same_bytes(workshop: Workshop, image: PushedImage, archive_format: str) -> None:
    reference = image.reference(tag="v1--0.0.1.1")
    files = [exported(workshop, reference, name, "--format", archive_format)[0] for name in ("a", "b")]
    assert files[0].read_bytes() == files[1].read_bytes()
    with tarfile.open(files[0]) as archive:
        assert {(one.mtime, one.uid, one.uname, one.mode) for one in archive} == {(0, 0, "", 0o644)}


@pytest.mark.parametrize("archive_format", ["oci", "docker"])
def test_what_is_exported_can_be_a_base(workshop: Workshop, image: PushedImage, archive_format: str) -> None:
    file, _ = exported(workshop, image.reference(tag="v1--base"), "base.tar", "--format", archive_format)
    target = workshop.target("export/again")
    workshop.made("build", f"{archive_format}-archive:{file}", target, "--push")
    (manifest,) = workshop.images("export/again")
    assert [one["digest"] for one in manifest["layers"][:-1]] == [one.blob.digest for one in image.layers()]


def test_an_image_of_the_original_builder_is_exported(
    workshop: Workshop, registry: Registry, docker_engine: DockerEngine
) -> None:
    push_original(registry, "export/original")
    reference = f"{registry.address}/export/original:v1--0.0.1.1"
    file, _ = exported(workshop, reference, "o.docker.tar", "--platform", "linux/amd64")
    docker_engine.load(file)
    assert len(docker_engine.files(reference)) >= 4
    docker_engine.remove(reference)


def test_a_damaged_blob_leaves_no_archive(workshop: Workshop) -> None:
    target = "127.0.0.1:1/export/damaged:v1"
    built = workshop.made("build", "scratch", target, "--compression", "none", "--json").json
    assert built["allotments"] == 3
    biggest = max((workshop.store / "blobs/sha256").iterdir(), key=lambda one: one.stat().st_size)
    times = biggest.stat()
    content = bytearray(biggest.read_bytes())
    content[1000] ^= 1
    biggest.chmod(0o644)
    biggest.write_bytes(content)
    os.utime(biggest, ns=(times.st_atime_ns, times.st_mtime_ns))  # a rotten disk touches no times
    (workshop.directory / "kept.tar").write_bytes(b"before")
    done = workshop.twodfs("export", f"{target}--all", "kept.tar")
    assert (done.status, f"has sha256:{biggest.name} damaged" in done.err) == (1, True)
    assert f"the store {workshop.store}" in done.err
    assert (workshop.directory / "kept.tar").read_bytes() == b"before"
    assert not list(workshop.directory.glob(".*"))


@pytest.fixture
def offline(workshop: Workshop) -> str:
    """A partition of an image of the store, whose registry nobody answers for."""
    target = "127.0.0.1:1/export/offline:v1"
    workshop.made("build", "scratch", target)
    return f"{target}--all"


@pytest.mark.parametrize(
    ("file", "sentence"),
    [
        (".", ". is a directory; name a file, as "),
        ("/", "/ is a directory"),
        ("", "FILE is empty"),
        ("nowhere/model.tar", "cannot write nowhere/model.tar: there is no directory "),
        ("fifo", "fifo is no regular file, and is left alone; name another"),
        ("null", "null is no regular file, and is left alone; name another"),
        ("link", "link is no regular file, and is left alone; name another"),
    ],
)
def test_what_is_no_place_for_an_archive_is_refused_before_any_work(
    workshop: Workshop, file: str, sentence: str
) -> None:
    os.mkfifo(workshop.directory / "fifo")
    os.mknod(workshop.directory / "null", 0o666 | stat.S_IFCHR, os.makedev(1, 3))
    (workshop.directory / "link").symlink_to("null")
    before = sorted((one.name, one.lstat().st_mode) for one in workshop.directory.iterdir())
    done = workshop.twodfs("export", "127.0.0.1:1/export/none:v1", file)
    assert (done.status, done.out) == (2, "")
    assert sentence in done.err
    assert sorted((one.name, one.lstat().st_mode) for one in workshop.directory.iterdir()) == before


def test_a_link_to_an_archive_stays_one(workshop: Workshop, offline: str) -> None:
    (workshop.directory / "link.tar").symlink_to("there.tar")
    workshop.made("export", offline, "link.tar")
    assert (workshop.directory / "link.tar").is_symlink()
    assert tarfile.is_tarfile(workshop.directory / "there.tar")


def test_what_a_killed_export_left_goes_with_the_next(workshop: Workshop, offline: str) -> None:
    (workshop.directory / ".model.tar.part").write_bytes(b"left" * 1_000_000)
    file, _ = exported(workshop, offline, "model.tar")
    assert tarfile.is_tarfile(file)
    assert not list(workshop.directory.glob(".*"))


def test_two_exports_into_one_file_do_not_mix(workshop: Workshop, offline: str) -> None:
    with (workshop.directory / ".model.tar.part").open("wb") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        refused = workshop.twodfs("export", offline, "model.tar")
    assert (refused.status, "model.tar is being written by another export" in refused.err) == (1, True)
    assert not (workshop.directory / "model.tar").exists()


def test_a_name_that_is_no_utf_8_is_a_name(workshop: Workshop, offline: str) -> None:
    done = workshop.made("export", offline, os.fsdecode(b"m\xff.tar"), "--json")
    assert done.json["file"] == "m\ufffd.tar"
    assert tarfile.is_tarfile(workshop.directory / os.fsdecode(b"m\xff.tar"))


@pytest.mark.parametrize(
    ("tag", "sentence"),
    [
        ("v1--7.7.8.8", "rows 0..2, columns 0..2"),
        ("v1--gpu", "is neither here nor in the registry, nor a partition of an image that is"),
        ("v2--0.0.0.0", "is neither here nor in the registry"),
        ("v1--1.0.0.0", "is inverted"),
    ],
)
def test_what_cannot_be_exported_is_said_in_a_line(
    workshop: Workshop, image: PushedImage, tag: str, sentence: str
) -> None:
    done = workshop.twodfs("export", image.reference(tag=tag), "no.tar")
    assert (done.status, done.out) == (1, "")
    assert sentence in done.err
    assert done.err.count("\n") == 1
    assert not (workshop.directory / "no.tar").exists()


def test_a_literal_tag_and_a_digest_are_exported_as_they_are(
    workshop: Workshop, registry: Registry, tmp_path: Path
) -> None:
    plain = push_image(registry.url, "export/plain", "v1--edge")
    _, made = exported(workshop, plain.reference(), "tag.tar")
    assert made["digest"] == plain.digest
    file, made = exported(workshop, f"{registry.address}/export/plain@{plain.digest}", "digest.tar")
    assert made["digest"] == plain.digest
    skopeo("copy", f"oci-archive:{file}", f"oci:{tmp_path}/copy")
    assert layout_files(tmp_path / "copy") == plain.files()


@pytest.mark.parametrize("archive_format", ["oci", "docker"])
def test_standard_output_gets_the_bytes_of_the_file(workshop: Workshop, offline: str, archive_format: str) -> None:
    written = workshop.made("export", offline, "model.tar", "--format", archive_format)
    for_whom = {"oci": "for skopeo and podman, as oci-archive; for 'docker load' take --format docker"}
    assert for_whom.get(archive_format, "for 'docker load', as for podman") in written.err
    streamed = subprocess.run(
        [sys.executable, "-m", "twodfs", "export", offline, "-", "--format", archive_format],
        env={**os.environ, "TWODFS_STORE": str(workshop.store), "PYTHONPATH": str(SOURCE)},
        capture_output=True,
        check=True,
    )
    assert streamed.stdout == (workshop.directory / "model.tar").read_bytes()
    refused = workshop.twodfs("export", offline, "-", "--json")
    assert (refused.status, "cannot both go to standard output" in refused.err) == (2, True)
