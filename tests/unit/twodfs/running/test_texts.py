"""Texts for programs that run an image: what is in them, and that names of files cannot break out of them."""

import json
import re
import shlex
from dataclasses import replace
from typing import Any

import kubernetes_validate
import pytest
import yaml

from twodfs.errors import BuildError
from twodfs.oci.platforms import Platform
from twodfs.oci.reference import Reference
from twodfs.running.docker import compose_file, containerfile, docker_commands
from twodfs.running.kubernetes import inference_service, pod, pod_with_volume
from twodfs.running.modelpack import model_annotations
from twodfs.running.places import FilePlaces
from twodfs.running.subject import RunSubject

REFERENCE = Reference.parse("models.example.org/library/model:v1--edge")
FILES = RunSubject(REFERENCE, FilePlaces(("/models",)), is_program=False, platform=Platform("linux", "arm64"))
PROGRAM = replace(FILES, is_program=True)
ODD = "/odd name/$HOME'\"\\\n- x: y\nRUN evil"
VERSIONS = ("1.33", "1.36", "1.37")


def test_an_image_with_a_program_is_run() -> None:
    assert docker_commands(PROGRAM) == f"docker run --rm --platform linux/arm64 {REFERENCE}\n"
    assert yaml.safe_load(compose_file(PROGRAM)) == {
        "services": {"model-v1-edge": {"image": str(REFERENCE), "platform": "linux/arm64"}}
    }
    assert containerfile(PROGRAM) == f"FROM --platform=linux/arm64 {REFERENCE}\n"
    spec = yaml.safe_load(pod(PROGRAM))["spec"]
    assert spec["containers"] == [{"name": "serve", "image": str(REFERENCE)}]
    assert spec["nodeSelector"] == {"kubernetes.io/os": "linux", "kubernetes.io/arch": "arm64"}


def test_files_are_copied_out_or_mounted_where_the_image_has_them() -> None:
    files = replace(FILES, platform=None, places=FilePlaces(("/etc/model", "/models")), server="server:2")
    assert docker_commands(files).splitlines()[1:] == [
        f"docker pull {REFERENCE}",
        f"docker create --name model-v1-edge {REFERENCE} /none",
        "docker cp model-v1-edge:/etc/model .",
        "docker cp model-v1-edge:/models .",
        "docker rm model-v1-edge",
    ]
    assert containerfile(files).splitlines() == [
        "FROM server:2",
        f"COPY --from={REFERENCE} /etc/model /etc/model",
        f"COPY --from={REFERENCE} /models /models",
    ]
    assert yaml.safe_load(compose_file(files))["services"]["serve"]["volumes"] == [
        {"type": "image", "source": str(REFERENCE), "target": f"/{one}", "image": {"subpath": one}}
        for one in ("etc/model", "models")
    ]
    mounted = yaml.safe_load(pod_with_volume(files))["spec"]
    assert mounted["containers"][0]["volumeMounts"] == [
        {"name": "model", "mountPath": f"/{one}", "subPath": one, "readOnly": True} for one in ("etc/model", "models")
    ]
    assert pod(files) == pod_with_volume(files)


def test_files_in_no_directory_are_copied_but_not_mounted() -> None:
    files = replace(FILES, places=FilePlaces((), ("/a.bin",)))
    assert "COPY --from=models.example.org/library/model:v1--edge /a.bin /a.bin" in containerfile(files)
    assert "docker cp model-v1-edge:/a.bin ." in docker_commands(files)
    for write in (compose_file, pod, pod_with_volume):
        with pytest.raises(BuildError, match=r"/a\.bin lies in no directory, so it cannot be mounted"):
            write(files)
        with pytest.raises(BuildError, match="it has no files, so it cannot be mounted"):
            write(replace(files, places=FilePlaces()))
        assert "/whole" in write(replace(files, mount="/whole"))


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("write", [pod, pod_with_volume])
@pytest.mark.parametrize(
    "subject",
    [FILES, PROGRAM, replace(FILES, platform=None, annotations={"org.cnai.model.version": "1"}, pull_secret="login")],
)
def test_kubernetes_takes_the_pods(version: str, write: Any, subject: RunSubject) -> None:
    content = yaml.safe_load(write(subject))
    assert kubernetes_validate.validate(content, version, strict=True).startswith(version)
    assert content["spec"].get("imagePullSecrets", []) == ([{"name": "login"}] if subject.pull_secret else [])
    content["spec"]["containers"][0]["imagee"] = "x"
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(content, version, strict=True)


def test_a_modelcar_has_its_files_where_kserve_looks() -> None:
    service = inference_service(replace(FILES, places=FilePlaces(("/models/llama",)), pull_secret="login"))
    content = yaml.safe_load(service)
    assert (content["kind"], content["metadata"]["name"]) == ("InferenceService", "model-v1-edge")
    assert content["spec"]["predictor"]["model"]["storageUri"] == f"oci://{REFERENCE}"
    assert content["spec"]["predictor"]["imagePullSecrets"] == [{"name": "login"}]
    assert "no base" not in service
    assert "this one has no base, take busybox" in inference_service(replace(FILES, has_base=False))
    for places in (
        FilePlaces(("/weights",)),
        FilePlaces(("/models", "/models2")),
        FilePlaces(("/models",), ("/x",)),
        FilePlaces(),
    ):
        with pytest.raises(BuildError, match="KServe looks for the files of a modelcar in /models"):
            inference_service(replace(FILES, places=places))


def test_annotations_are_in_the_words_of_modelpack() -> None:
    said = {"org.opencontainers.image.version": "1.2", "org.opencontainers.image.ref.name": "x", "other": "y"}
    found = model_annotations(said, ["/models"])
    assert found == {"org.cnai.model.version": "1.2", "org.cnai.model.filepath": "/models"}
    assert "org.cnai.model.filepath" not in model_annotations(said, ["/a", "/b"])
    annotated = replace(FILES, annotations={"org.cnai.model.title": 'a "$5" model'})
    words = shlex.split(docker_commands(annotated).splitlines()[2])
    assert words[4:6] == ["--label", 'org.cnai.model.title=a "$5" model']
    assert containerfile(annotated).splitlines()[-1] == r'LABEL "org.cnai.model.title"="a \"\$5\" model"'
    labels = yaml.safe_load(compose_file(annotated))["services"]["serve"]["labels"]
    assert labels == {"org.cnai.model.title": 'a "$$5" model'}  # Compose puts variables in
    metadata = yaml.safe_load(pod(annotated))["metadata"]
    assert metadata["annotations"] == {"org.cnai.model.title": 'a "$5" model'}


def test_names_of_files_stay_names() -> None:
    odd = replace(FILES, places=FilePlaces((ODD,)))
    assert shlex.split(docker_commands(odd), comments=True).count(f"model-v1-edge:{ODD}") == 1
    lines = containerfile(odd).splitlines()
    assert [line.split()[0] for line in lines] == ["FROM", "COPY"]
    words = json.loads("[" + lines[1].partition(" [")[2])
    assert [re.sub(r"\\(.)", r"\1", word, flags=re.DOTALL) for word in words] == [ODD, ODD]
    mount = yaml.safe_load(pod(odd))["spec"]["containers"][0]["volumeMounts"][0]
    assert mount["mountPath"] == ODD
    volume = yaml.safe_load(compose_file(odd))["services"]["serve"]["volumes"][0]
    assert volume["target"] == ODD.replace("$", "$$")


@pytest.mark.parametrize(
    ("reference", "name"),
    [
        ("docker.io/library/model:v1--0.0.1.2", "model-v1-0-0-1-2"),
        ("a.example/team/My_Model.x".lower() + ":V1.0--edge", "my-model-x-v1-0-edge"),
        ("a.example/7b:v1", "m-7b-v1"),
        ("a.example/m:" + "v" * 100, "m-" + "v" * 61),
    ],
)
def test_names_are_such_as_dns_takes(reference: str, name: str) -> None:
    assert replace(FILES, reference=Reference.parse(reference)).name == name
