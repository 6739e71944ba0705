"""Lists of referrers and their tags."""

import pytest

from twodfs.oci.digest import Digest
from twodfs.oci.documents import OCI_MANIFEST, Document
from twodfs.oci.referrers import (
    entry_of,
    is_unsure,
    merged_referrers,
    next_page,
    referred_by_tag,
    referrers_tag,
    subject_of,
    without,
)

DIGEST = Digest("sha256:" + "ab" * 32)
PATH = f"/v2/a/b/referrers/{DIGEST}"


def test_a_digest_has_a_tag_and_back() -> None:
    assert referrers_tag(DIGEST) == f"sha256-{'ab' * 32}"
    assert referred_by_tag(referrers_tag(DIGEST)) == DIGEST
    assert referrers_tag(Digest(f"sha512:{'c' * 128}")) == f"sha512-{'c' * 64}", "cut off, as the spec has it"
    for tag in (f"sha256-{'ab' * 32}.sig", f"sha256-{'AB' * 32}", "sha256-ab", "v1"):
        assert referred_by_tag(tag) is None


@pytest.mark.parametrize(
    ("link", "expected"),
    [
        ("", None),
        (f'<{PATH}?n=1>; rel="next"', f"{PATH}?n=1"),
        ("<?n=1>; rel=next", f"{PATH}?n=1"),
        (f'<https://elsewhere.example{PATH}?n=1>;x="y"; rel="next"', f"{PATH}?n=1"),
        (f'<{PATH}?p=1>; rel="prev", <{PATH}?n=2>; rel="next"', f"{PATH}?n=2"),
        (f'<{PATH}?n=1>; rel="prev"', None),
        (f'<{PATH}>; rel="next"', None),
        ('</v2/a/b/tags/list?n=1>; rel="next"', None),
        (f'<{PATH}/../../../c/referrers/{DIGEST}?n=1>; rel="next"', None),
        (f'<{PATH}?n=1 HTTP/1.1>; rel="next"', None),
        ('<http://[::1?n=1>; rel="next"', None),
    ],
)
def test_the_next_page_is_of_the_same_list_or_none(link: str, expected: str | None) -> None:
    assert next_page(link, PATH) == expected


def test_an_entry_says_what_the_manifest_is() -> None:
    config = {"mediaType": "text/config"}
    for content, artifact_type in (
        ({"artifactType": "a/b", "config": config}, "a/b"),
        ({"config": config}, "text/config"),
        ({"artifactType": "", "config": config}, "text/config"),
        ({"config": 7}, None),
    ):
        manifest = Document.of(OCI_MANIFEST, content)
        assert entry_of(manifest).get("artifactType") == artifact_type
    annotated = Document.of(OCI_MANIFEST, {"annotations": {"a": "b"}})
    assert entry_of(annotated) == {
        "mediaType": OCI_MANIFEST,
        "digest": annotated.digest,
        "size": len(annotated.body),
        "annotations": {"a": "b"},
    }


@pytest.mark.parametrize("subject", [None, 7, {}, {"digest": 7}, {"digest": "sha256:AB"}])
def test_what_is_no_subject(subject: object) -> None:
    assert subject_of({"subject": subject}) is None
    assert subject_of({"subject": {"digest": DIGEST}}) == DIGEST


def test_an_entry_without_a_kind_may_be_anything() -> None:
    assert is_unsure({"mediaType": OCI_MANIFEST})
    assert is_unsure({"mediaType": OCI_MANIFEST, "artifactType": "application/vnd.oci.empty.v1+json"})
    assert not is_unsure({"mediaType": OCI_MANIFEST, "artifactType": "a/b"})


def test_what_is_struck_out_leaves_the_rest_as_it_is() -> None:
    listed = {"manifests": [{"digest": DIGEST}, {"digest": "x", "more": 1}], "annotations": {"a": "b"}}
    left = without(listed, DIGEST)
    assert left == merged_referrers({**listed, "manifests": [{"digest": "x", "more": 1}]}, ())
