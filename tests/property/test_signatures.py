"""Whatever a registry sends for a signature is read, or refused with a sentence; nothing else happens."""

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from tests.lab.signing import ANNOTATION, PAYLOAD_TYPE, payload_of
from twodfs.errors import FormatError, SignatureError
from twodfs.oci.digest import Digest
from twodfs.oci.documents import OCI_MANIFEST, Document, Json
from twodfs.oci.referrers import merged_referrers, next_page
from twodfs.signing.attachment import Attachment
from twodfs.signing.bundle import check_bundle
from twodfs.signing.evidence import EvidenceKind, examine
from twodfs.signing.signature import (
    Payload,
    signature_tag,
    signatures_in,
    signed_by_tag,
)

DIGEST = Digest("sha256:" + "0" * 64)
scalars = st.none() | st.booleans() | st.integers(-5, 2**65) | st.text(max_size=8) | st.just(DIGEST)
keys = st.sampled_from(
    [
        *("critical", "identity", "image", "type", "docker-reference", "docker-manifest-digest", "optional"),
        *(
            "config",
            "layers",
            "manifests",
            "mediaType",
            "digest",
            "size",
            "annotations",
            ANNOTATION,
            "subject",
        ),
    ]
)
values = st.recursive(
    scalars | st.just(PAYLOAD_TYPE) | st.just(OCI_MANIFEST),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(keys, inner, max_size=4),
    max_leaves=12,
)
descriptors: st.SearchStrategy[Json] = st.fixed_dictionaries(
    {"mediaType": st.just(PAYLOAD_TYPE), "digest": st.just(DIGEST), "size": st.integers(-1, 10)},
    optional={"annotations": values, "more": values},
)


@given(st.binary(max_size=60) | values.map(lambda one: json.dumps(one).encode()))
def test_any_bytes_are_a_payload_or_are_refused(body: bytes) -> None:
    try:
        read = Payload.parse(body)
    except FormatError:
        return
    assert Payload.parse(read.encode()) == read


@given(st.dictionaries(st.sampled_from(["type", "image", "identity", "x"]), values))
def test_any_critical_part_is_understood_or_refused(changes: Json) -> None:
    try:
        Payload.parse(payload_of(DIGEST, **changes))
    except FormatError as error:
        assert "critical" in str(error)


@given(values | st.fixed_dictionaries({"config": descriptors, "layers": st.lists(descriptors, max_size=4)}))
def test_any_manifest_carries_signatures_or_is_refused(content: object) -> None:
    body = json.dumps(content).encode()
    try:
        found = signatures_in(Document(OCI_MANIFEST, DIGEST, body))
    except FormatError:
        return
    assert all(one.payload.media_type == PAYLOAD_TYPE for one in found)


@given(st.dictionaries(keys, values, max_size=3), st.none() | st.text(max_size=5))
def test_any_list_of_referrers_is_merged_or_refused(listed: Json, artifact_type: str | None) -> None:
    subject = Document.of(OCI_MANIFEST, {})
    ours = Attachment.of(subject, b"{}", b"")
    try:
        merged = merged_referrers(listed, [ours.entry], artifact_type)
    except FormatError:
        return
    assert isinstance(json.loads(merged.body)["manifests"], list)


@given(values | st.fixed_dictionaries({}, optional={"dsseEnvelope": values, "messageSignature": values}))
def test_any_bundle_is_refused_without_a_key(content: object) -> None:
    try:
        check_bundle(json.dumps(content).encode(), DIGEST, ())
    except SignatureError:
        return
    raise AssertionError("nobody signed it")


@given(
    st.one_of(st.none(), st.lists(values, max_size=3)),
    st.none() | st.builds(lambda one: Document(OCI_MANIFEST, DIGEST, json.dumps(one).encode()), values),
    st.none() | st.binary(max_size=30),
)
def test_whatever_a_registry_answers_makes_no_good_signature(
    listed: list[object] | None, manifest: Document | None, blob: bytes | None
) -> None:
    answers: dict[EvidenceKind, Any] = {
        EvidenceKind.REFERRERS: listed,
        EvidenceKind.MANIFEST: manifest,
        EvidenceKind.BLOB: blob,
    }
    steps = examine(DIGEST, ())
    need = next(steps)
    try:
        while True:
            need = steps.send(answers[need.kind])
    except SignatureError:
        return


@given(st.text(max_size=60), st.text(max_size=20))
def test_any_link_leads_to_the_same_list_or_nowhere(link: str, target: str) -> None:
    for text in (link, f'<{target}>; rel="next"'):
        found = next_page(text, "/v2/a/referrers/x")
        assert found is None or (found.startswith("/v2/a/referrers/x?") and found.isprintable())


@given(st.text(max_size=90) | st.from_regex(r"sha256-[a-f0-9]{62,66}\.sig", fullmatch=True))
def test_a_tag_names_a_digest_both_ways_or_not_at_all(tag: str) -> None:
    digest = signed_by_tag(tag)
    assert digest is None or signature_tag(digest) == tag
