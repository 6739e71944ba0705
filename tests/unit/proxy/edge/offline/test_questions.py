"""Under which name an answer is remembered."""

import pytest

from proxy.auth.identity import Identity
from proxy.edge.offline.questions import EdgeQuestion, class_of, takes
from proxy.repository import DEFAULT_UPSTREAM, Repository
from twodfs.oci.documents import ACCEPT_IMAGES, DOCKER_MANIFEST, OCI_INDEX, OCI_MANIFEST

NOBODY = Identity.of({})
DIGEST = "sha256:" + "0" * 64


def question(path: str, accept: str = "*/*") -> EdgeQuestion:
    return EdgeQuestion.of("GET", path, NOBODY, accept)


@pytest.mark.parametrize(
    ("path", "kind", "resource"),
    [
        ("/v2/", "root", "/v2/"),
        ("/v2/a/b/manifests/v1", "tag", "manifests/v1"),
        ("/v2/a/b/manifests/v1--0.0.1.1", "tag", "manifests/v1--0.0.1.1"),
        (f"/v2/a/b/manifests/{DIGEST.replace(':', '-')}.sig", "tag", f"manifests/{DIGEST.replace(':', '-')}.sig"),
        (f"/v2/a/b/referrers/{DIGEST}", "referrers", f"referrers/{DIGEST}"),
        (f"/v2/a/b/referrers/{DIGEST}?artifactType=a%2Fb", "referrers", f"referrers/{DIGEST}?artifactType=a%2Fb"),
        (f"/v2/a/b/manifests/{DIGEST}", "manifest", ""),
        (f"/v2/a/b/blobs/{DIGEST}", "blob", ""),
        (f"/v2/a/b/manifests/sha512:{'0' * 128}", "other", ""),
        (f"/v2/a/b/blobs/sha512:{'0' * 128}", "other", ""),
        ("/v2/a/b/manifests/md5:0", "other", ""),
        ("/v2/a/b/manifests/v1?ns=docker.io", "tag", "manifests/v1"),
        ("/v2/a/b/tags/list", "other", ""),
        ("/v2/a/b/blobs/uploads/", "other", ""),
        ("/v2/_catalog", "other", ""),
        ("/", "other", ""),
    ],
)
def test_what_can_change_has_a_name(path: str, kind: str, resource: str) -> None:
    asked = question(path)
    assert (asked.kind, asked.resource) == (kind, resource)
    assert asked.repository == Repository(DEFAULT_UPSTREAM, "a/b" if "/a/b/" in path else "")


def test_clients_that_take_the_same_types_of_images_share_an_answer() -> None:
    tag = "/v2/a/manifests/v1"
    shuffled = ", ".join(reversed(ACCEPT_IMAGES.split(", "))) + ", application/json"
    assert question(tag, ACCEPT_IMAGES).accept_class == question(tag, shuffled).accept_class != ""
    assert question(tag, OCI_MANIFEST).accept_class != question(tag, DOCKER_MANIFEST).accept_class
    assert question(f"/v2/a/referrers/{DIGEST}", OCI_INDEX).accept_class == ""


def test_what_a_class_takes() -> None:
    assert takes(class_of(OCI_INDEX), OCI_INDEX)
    assert not takes(class_of(OCI_MANIFEST), OCI_INDEX)
    assert not takes(class_of(OCI_MANIFEST), "application/json")
    assert takes("", OCI_INDEX)


def test_people_read_what_was_asked_for() -> None:
    assert question("/v2/library/model/manifests/v1").shown == "v1 of library/model"
    assert question(f"/v2/a/blobs/{DIGEST}").shown == f"the blob {DIGEST} of a"
