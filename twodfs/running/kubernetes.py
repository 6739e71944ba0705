"""Objects of Kubernetes: a pod that is the image, one that mounts it, and KServe's service of a modelcar. Pure."""

from __future__ import annotations

from typing import Final

from twodfs.errors import BuildError
from twodfs.oci.documents import Json
from twodfs.running.subject import RunSubject, yaml_text

MODELCAR_PLACE: Final = "/models"
"""Where KServe looks for the files of a modelcar."""

_VOLUME: Final = "model"


def pod(subject: RunSubject) -> str:
    """Return a pod whose container is the image; where that has no program, as ``pod_with_volume``.

    Raises:
        BuildError: as there.
    """
    if not subject.is_program:
        return pod_with_volume(subject)
    container = {"name": "serve", "image": str(subject.reference)}
    return yaml_text(_pod(subject, {"containers": [container]}))


def pod_with_volume(subject: RunSubject) -> str:
    """Return a pod that mounts the image's files, each directory where the image has it.

    Raises:
        BuildError: as ``RunSubject.mounted``.
    """
    mounts = [
        {"name": _VOLUME, "mountPath": place, **({"subPath": directory} if directory else {}), "readOnly": True}
        for place, directory in subject.mounted().items()
    ]
    volume = {"name": _VOLUME, "image": {"reference": str(subject.reference), "pullPolicy": "IfNotPresent"}}
    spec = {"containers": [{"name": "serve", "image": subject.server, "volumeMounts": mounts}], "volumes": [volume]}
    needs = ["Image volumes: Kubernetes 1.36, before it with the feature gate ImageVolume."]
    if not subject.mount:
        needs.append("subPath: containerd 2.2 or CRI-O 1.33; older ones mount the whole image there, see --mount.")
    return yaml_text(_pod(subject, spec), *needs)


def inference_service(subject: RunSubject) -> str:
    """Return KServe's service of a modelcar.

    Raises:
        BuildError: a file lies elsewhere than KServe looks for it.
    """
    outside = [place for place in subject.places.all if not f"{place}/".startswith(f"{MODELCAR_PLACE}/")]
    if outside or not subject.places.all:
        found = f"{outside[0]} is not below it" if outside else "it has no files"
        raise BuildError(
            f"KServe looks for the files of a modelcar in {MODELCAR_PLACE}, and of {subject.reference} {found}; build "
            f"it with such destinations, as --at {MODELCAR_PLACE}"
        )
    model = {"modelFormat": {"name": "huggingface"}, "storageUri": f"oci://{subject.reference}"}
    content: Json = {
        "apiVersion": "serving.kserve.io/v1beta1",
        "kind": "InferenceService",
        "metadata": _metadata(subject),
        "spec": {"predictor": _pod_spec(subject, {"model": model})},
    }
    shell = "KServe runs sh, ln and sleep of this image beside the server, so its base needs them"
    lacks = "" if subject.has_base else ": this one has no base, take busybox"
    return yaml_text(content, "modelFormat is to be that of your runtime.", f"{shell}{lacks}.")


def _pod(subject: RunSubject, spec: Json) -> Json:
    return {"apiVersion": "v1", "kind": "Pod", "metadata": _metadata(subject), "spec": _pod_spec(subject, spec)}


def _metadata(subject: RunSubject) -> Json:
    annotations = {"annotations": dict(subject.annotations)} if subject.annotations else {}
    return {"name": subject.name, **annotations}


def _pod_spec(subject: RunSubject, spec: Json) -> Json:
    secrets = {"imagePullSecrets": [{"name": subject.pull_secret}]} if subject.pull_secret else {}
    return {**_nodes(subject), **secrets, **spec}


def _nodes(subject: RunSubject) -> Json:
    """Return which nodes can run it: Kubernetes itself does not look at an image's platform."""
    if subject.platform is None:
        return {}
    labels = {"kubernetes.io/os": subject.platform.os, "kubernetes.io/arch": subject.platform.architecture}
    return {"nodeSelector": labels}
