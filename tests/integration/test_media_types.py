"""Whose media types an image has, and what skopeo and podman say of them."""

import json
from pathlib import Path
from typing import get_args

import pytest

from tests.lab.documents import FieldStyle
from tests.lab.engines import Podman, Skopeo
from tests.lab.images import Kind, PushedImage, push_field_image, push_image
from tests.lab.proxy import Proxy
from tests.lab.workshop import CONTENT, Workshop
from twodfs.oci.documents import DOCKER_LIST, DOCKER_MANIFEST, OCI_INDEX

BASE = {"base": b"base"}
FIRST_ROW = BASE | CONTENT[0, 0] | CONTENT[0, 2]


def pulled(engine: Skopeo | Podman, reference: str) -> dict[str, bytes]:
    engine.pull(reference)
    return engine.files(reference)


def pushed_base(workshop: Workshop, name: str, kind: Kind) -> PushedImage:
    return push_image(workshop.registry.url, f"bases/{name}", "v1", kind=kind, base=BASE)


@pytest.mark.parametrize("kind", ["docker-list", "docker-manifest"])
def test_zstd_on_a_docker_base_is_pulled_and_copied(
    workshop: Workshop, proxy: Proxy, skopeo_engine: Skopeo, podman_engine: Podman, tmp_path: Path, kind: Kind
) -> None:
    base = pushed_base(workshop, f"zstd-{kind}", kind)
    name = f"types/zstd-{kind}"
    workshop.made("build", base.reference(), workshop.target(name), "--push", "--compression", "zstd")
    assert workshop.document(name, "v1")["mediaType"] == OCI_INDEX
    partition = f"{proxy.address}/{name}:v1--0.0.0.2"
    assert pulled(skopeo_engine, partition) == FIRST_ROW
    assert pulled(podman_engine, partition) == FIRST_ROW
    skopeo_engine.copy(workshop.target(name), tmp_path / "whole", None, "--all")


@pytest.mark.parametrize("kind", ["docker-list", "docker-manifest"])
def test_an_image_that_lists_zstd_among_dockers_types_is_cut_into_one_that_is_pulled(
    workshop: Workshop, proxy: Proxy, skopeo_engine: Skopeo, podman_engine: Podman, kind: Kind
) -> None:
    """Images of earlier builders: the cells say zstd, and the manifests are Docker's."""
    name = f"types/existing-{kind}"
    cells = {(0, 0): {"a": b"a"}, (0, 1): {"b": b"b"}}
    image = push_field_image(
        *(workshop.registry.url, name, "v1"),
        kind=kind,
        cells=cells,
        allotment_compression="zstd",
        field_style=FieldStyle(sizes=True, media_types=True),
    )
    reference = image.reference(proxy.address, "v1--0.0.0.1")
    expected = image.files(image.select((0, 0, 0, 1)))
    assert pulled(skopeo_engine, reference) == expected
    assert pulled(podman_engine, reference) == expected


@pytest.mark.parametrize("kind", get_args(Kind))
def test_ocis_media_types_make_any_base_copyable(
    workshop: Workshop, proxy: Proxy, skopeo_engine: Skopeo, tmp_path: Path, kind: Kind
) -> None:
    base = pushed_base(workshop, f"oci-{kind}", kind)
    name = f"types/oci-{kind}"
    workshop.made("build", base.reference(), workshop.target(name), "--push", "--media-types", "oci")
    (manifest,) = workshop.images(name)
    layers = base.platforms[0].base
    assert [one["digest"] for one in manifest["layers"][:-1]] == [one.blob.digest for one in layers]
    assert "docker" not in json.dumps([manifest, workshop.document(name, "v1")])
    skopeo_engine.copy(workshop.target(name), tmp_path / "whole", None, "--all")
    assert pulled(skopeo_engine, f"{proxy.address}/{name}:v1--0.0.0.2") == FIRST_ROW


@pytest.mark.parametrize("base", ["oci-index", "scratch"])
def test_dockers_media_types_on_request(workshop: Workshop, proxy: Proxy, podman_engine: Podman, base: str) -> None:
    name = f"types/docker-{base}"
    on = base if base == "scratch" else pushed_base(workshop, "to-docker", "oci-index").reference()
    workshop.made("build", on, workshop.target(name), "--push", "--media-types", "docker")
    assert workshop.document(name, "v1")["mediaType"] == DOCKER_LIST
    (manifest,) = workshop.images(name)
    assert manifest["mediaType"] == DOCKER_MANIFEST
    assert all("docker" in one["mediaType"] for one in (manifest["config"], *manifest["layers"][:-1]))
    expected = FIRST_ROW if base != "scratch" else CONTENT[0, 0] | CONTENT[0, 2]
    assert pulled(podman_engine, f"{proxy.address}/{name}:v1--0.0.0.2") == expected


def test_what_no_engine_takes_is_not_built(workshop: Workshop) -> None:
    target = workshop.target("types/never")
    docker = pushed_base(workshop, "never", "docker-manifest").reference()
    zstd = push_image(workshop.registry.url, "bases/zstd", "v1", base=BASE, base_compression="zstd")
    why = "takes --media-types oci: podman and skopeo refuse Docker's media type for zstd\n"
    for base, options, said in (
        ("scratch", ("--media-types", "docker", "--compression", "zstd"), f"--compression zstd {why}"),
        (
            docker,
            ("--media-types", "base", "--compression", "zstd"),
            f"--compression zstd on a base of Docker's media types {why}",
        ),
        (zstd.reference(), ("--media-types", "docker"), f"a base with layers in zstd {why}"),
        (
            "scratch",
            ("--media-types", "docker", "--compat"),
            "--media-types docker does not go with --compat: the original registry cuts OCI images alone\n",
        ),
    ):
        done = workshop.twodfs("build", base, target, "--quiet", *options)
        assert (done.status, done.err) == (2, f"twodfs: {said}")
