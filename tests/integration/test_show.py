"""`twodfs show`: the text that it writes is taken by the programs that it is for."""

import json
import subprocess
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from tests.lab.engines import DockerEngine
from tests.lab.images import busybox_base, push_field_image, push_image
from tests.lab.proxy import Proxy
from tests.lab.registry import Registry
from tests.lab.workshop import CONTENT, Workshop

WEIGHTS = CONTENT[0, 0]["models/a.bin"]
ODD = "odd $HOME 'name'"


def write(workshop: Workshop, *, place: str = "/models", **more: Any) -> None:
    allotments = [
        {"src": "a.bin", "dst": f"{place}/", "row": 0, "col": 0},
        {"src": "tokenizer", "dst": f"{place}/tokenizer", "row": 0, "col": 1},
        {"src": "c.bin", "dst": "/cells/c.bin", "row": 1, "col": 0},
    ]
    content = {"allotments": allotments, "partitions": {"edge": "0.0.0.1"}, **more}
    (workshop.directory / "2dfs.json").write_text(json.dumps(content))


def pushed(workshop: Workshop, name: str, base: str = "scratch") -> str:
    """Build and push, and return the reference of a partition; the store forgets it."""
    target = workshop.target(name)
    workshop.made("build", base, target, "--push")
    workshop.made("rm", target)
    return f"{target}--edge"


@pytest.fixture
def files(workshop: Workshop) -> str:
    write(workshop)
    return pushed(workshop, "show/files")


@pytest.fixture
def service(workshop: Workshop) -> str:
    """An image with a program."""
    base = push_image(workshop.registry.url, "show/busybox", "v1", base=busybox_base())
    write(
        workshop,
        entrypoint=["/bin/busybox", "cat"],
        cmd=["/models/tokenizer/vocab.json"],
        labels={"org.opencontainers.image.version": "7"},
    )
    return pushed(workshop, "show/service", base.reference())


def shell(engine: DockerEngine, directory: Path, text: str) -> str:
    done = subprocess.run(
        ["sh", "-eu"], input=text, cwd=directory, env=engine.environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("pin", [(), ("--pin",)])
def test_docker_runs_what_has_a_program(
    workshop: Workshop, service: str, proxy: Proxy, docker_engine: DockerEngine, pin: tuple[str, ...], tmp_path: Path
) -> None:
    text = workshop.made("show", service, "--as", "docker", "--proxy", proxy.address, *pin).out
    assert text.startswith(f"docker run --rm --platform linux/amd64 {proxy.address}/show/service:v1--edge")
    assert ("@sha256:" in text) is bool(pin)
    # The lab's engine has no network for containers.
    assert shell(docker_engine, tmp_path, text.replace("--rm", "--rm --network none")) == "{}"


def test_docker_copies_files_out_of_what_has_none(
    workshop: Workshop, files: str, proxy: Proxy, docker_engine: DockerEngine, tmp_path: Path
) -> None:
    text = workshop.made("show", files, "--as", "docker", "--proxy", proxy.address, "--annotate", "modelpack").out
    shell(docker_engine, tmp_path, text)
    assert (tmp_path / "models" / "a.bin").read_bytes() == WEIGHTS
    assert (tmp_path / "models" / "tokenizer" / "vocab.json").read_bytes() == b"{}"
    assert not (tmp_path / "cells").exists()


@pytest.mark.parametrize("place", ["/models", f"/{ODD}/models"])
def test_docker_builds_the_containerfile(
    workshop: Workshop, proxy: Proxy, docker_engine: DockerEngine, place: str, tmp_path: Path
) -> None:
    write(workshop, place=place, annotations={"org.opencontainers.image.title": 'a $5 "model"'})
    base = push_image(proxy.url, "show/server", "v1", base=busybox_base())
    reference = pushed(workshop, f"show/copied-{len(place)}")
    words = ("--as", "containerfile", "--proxy", proxy.address, "--server", base.reference(), "--annotate", "modelpack")
    (tmp_path / "Containerfile").write_text(workshop.made("show", reference, *words).out)
    docker_engine.build(tmp_path, "Containerfile", "show/built:v1")
    built = docker_engine.files("show/built:v1")
    assert built[f"{place.lstrip('/')}/a.bin"] == WEIGHTS
    assert "bin/busybox" in built
    labels = docker_engine.inspect("show/built:v1")["Config"]["Labels"]
    assert labels == {"org.cnai.model.title": 'a $5 "model"', "org.cnai.model.filepath": place}
    docker_engine.remove("show/built:v1")


def test_docker_builds_on_what_has_a_program(
    workshop: Workshop, service: str, proxy: Proxy, docker_engine: DockerEngine, tmp_path: Path
) -> None:
    text = workshop.made("show", service, "--as", "containerfile", "--proxy", proxy.address).out
    (tmp_path / "Containerfile").write_text(text)
    docker_engine.build(tmp_path, "Containerfile", "show/on:v1")
    assert docker_engine.run("show/on:v1") == "{}"
    docker_engine.remove("show/on:v1")


def test_a_whole_image_is_mounted_where_one_says(workshop: Workshop, files: str) -> None:
    whole = files.replace("--edge", "--all")
    content = yaml.safe_load(workshop.made("show", whole, "--as", "image-volume", "--mount", "/whole").out)
    (container,) = content["spec"]["containers"]
    assert container["volumeMounts"] == [{"name": "model", "mountPath": "/whole", "readOnly": True}]
    assert kubernetes_validate.validate(content, "1.36", strict=True)
    compose = yaml.safe_load(workshop.made("show", whole, "--as", "compose", "--mount", "/whole/").out)
    assert compose["services"]["serve"]["volumes"] == [{"type": "image", "source": whole, "target": "/whole"}]


def test_a_pinned_digest_is_known_to_the_proxy_from_then_on(workshop: Workshop, files: str, proxy: Proxy) -> None:
    words = ("show", files, "--as", "image-volume", "--pin")
    refused = workshop.twodfs(*words)
    assert refused.status == 1
    assert "does not have show/files:v1--edge, so its digest could not be pulled" in refused.err
    reference = workshop.made(*words, "--proxy", proxy.address, "--json").json["reference"]
    workshop.document("show/files", reference.partition("@")[2], proxy.url)


@pytest.mark.parametrize("run_as", ["kubernetes", "image-volume"])
def test_kubernetes_takes_the_pod(workshop: Workshop, files: str, service: str, run_as: str) -> None:
    for reference in (files, service):
        content = yaml.safe_load(workshop.made("show", reference, "--as", run_as, "--pull-secret", "login").out)
        assert kubernetes_validate.validate(content, "1.36", strict=True)
        spec = content["spec"]
        mounts = [mount["mountPath"] for one in spec["containers"] for mount in one.get("volumeMounts", ())]
        assert mounts == ([] if (reference, run_as) == (service, "kubernetes") else ["/models"])
        named = spec["volumes"][0]["image"]["reference"] if mounts else spec["containers"][0]["image"]
        assert named == reference


def test_kserve_gets_what_is_below_models(workshop: Workshop, files: str) -> None:
    words = ("--as", "kubernetes", "--layout", "modelcar")
    text = workshop.made("show", files, *words).out
    assert yaml.safe_load(text)["spec"]["predictor"]["model"]["storageUri"] == f"oci://{files}"
    assert "this one has no base" in text
    refused = workshop.twodfs("show", files.replace("--edge", "--all"), *words)
    assert (refused.status, "of show/files" in refused.err or "/cells is not below it" in refused.err) == (1, True)


def test_what_the_image_says_is_said_in_modelpacks_words(workshop: Workshop, service: str) -> None:
    content = yaml.safe_load(workshop.made("show", service, "--as", "kubernetes", "--annotate", "modelpack").out)
    assert content["metadata"]["annotations"] == {
        "org.cnai.model.version": "7",
        "org.cnai.model.filepath": "/models",
    }


def test_platforms_are_chosen_or_left_open(workshop: Workshop, registry: Registry) -> None:
    cells = {(0, 0): {"models/a": b"a"}}
    several = push_field_image(registry.url, "show/both", "v1", cells=cells, platforms=("linux/amd64", "linux/arm64"))
    reference = several.reference(tag="v1--all")
    words = ("show", reference, "--as", "image-volume")
    assert "nodeSelector" not in workshop.made(*words).out
    chosen = yaml.safe_load(workshop.made(*words, "--platform", "linux/arm64").out)
    assert chosen["spec"]["nodeSelector"]["kubernetes.io/arch"] == "arm64"
    refused = workshop.twodfs(*words, "--platform", "linux/s390x")
    assert (refused.status, "has no image for linux/s390x; it has linux/amd64, linux/arm64" in refused.err) == (1, True)


def test_directories_may_be_named_where_they_are_not_read(workshop: Workshop, files: str) -> None:
    content = workshop.made("show", files, "--as", "compose", "--path", "/models/", "--path", "/more", "--json").json
    assert content["reference"] == files
    volumes = yaml.safe_load(content["text"])["services"]["serve"]["volumes"]
    assert [one["target"] for one in volumes] == ["/models", "/more"]


@pytest.mark.parametrize(
    ("words", "status", "said"),
    [
        (("REF",), 2, "missing: --as"),
        (("REF", "--as", "nomad"), 2, "expected docker or compose"),
        (("REF", "--as", "docker", "--layout", "modelcar"), 2, "--layout modelcar goes with --as kubernetes"),
        (("REF", "--as", "docker", "--server", "x"), 2, "--server does not go with --as docker"),
        (("REF", "--as", "docker", "--proxy", "a b"), 2, "'a b' is no registry"),
        (("REF", "--as", "compose", "--path", "/a/../b"), 2, "climbs with '..'"),
        (("REF", "--as", "compose", "--path", "/"), 2, "--path / is everything; name a directory below it"),
        (("REF", "--as", "docker", "--mount", "/x"), 2, "--mount goes with compose, kubernetes and image-volume"),
        (("IMAGE", "--as", "docker"), 1, "is a 2DFS image, which no engine runs; name a partition of it, as"),
    ],
)
def test_mistakes_are_told(workshop: Workshop, files: str, words: tuple[str, ...], status: int, said: str) -> None:
    names = {"REF": files, "IMAGE": files.removesuffix("--edge")}
    done = workshop.twodfs("show", *(names.get(one, one) for one in words))
    assert (done.status, done.out) == (status, "")
    assert said in done.err
