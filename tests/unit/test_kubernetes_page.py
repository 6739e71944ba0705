"""What `docs/kubernetes.md` shows is what Kubernetes and `twodfs show` take and write."""

import re
from pathlib import Path

import kubernetes_validate
import pytest
import yaml

from twodfs.oci.reference import Reference
from twodfs.running.kubernetes import pod_with_volume
from twodfs.running.places import FilePlaces
from twodfs.running.subject import RunSubject

PAGE = (Path(__file__).parents[2] / "docs" / "kubernetes.md").read_text()
OBJECTS = [yaml.safe_load(text) for text in re.findall(r"^```yaml\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)]
KINDS = {one["kind"]: one for one in OBJECTS}


def test_the_page_has_an_object_of_each_kind() -> None:
    assert list(KINDS) == ["Pod", "DaemonSet", "ClusterImagePolicy", "ImageValidatingPolicy"]


@pytest.mark.parametrize("kind", ["Pod", "DaemonSet"])
@pytest.mark.parametrize("version", ["1.33", "1.36"])
def test_kubernetes_takes_them(kind: str, version: str) -> None:
    assert kubernetes_validate.validate(KINDS[kind], version, strict=True)


def test_the_pod_is_the_one_that_show_writes() -> None:
    reference = Reference.parse("models.example.org/library/model:v1--edge")
    subject = RunSubject(reference, FilePlaces(("/models",)), is_program=False, pull_secret="models-login")
    assert yaml.safe_load(pod_with_volume(subject)) == KINDS["Pod"]


def test_the_daemon_set_selects_its_own_pods() -> None:
    spec = KINDS["DaemonSet"]["spec"]
    assert spec["selector"]["matchLabels"] == spec["template"]["metadata"]["labels"]
