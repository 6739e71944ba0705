"""cosign's format, against documents written by hand; no cryptography here."""

import base64
import json
from typing import Any

import pytest

from tests.lab.signing import ANNOTATION, PAYLOAD_TYPE, SIGNATURE_TYPE, payload_of, signature_manifest
from twodfs.errors import FormatError, SignatureError
from twodfs.oci.digest import Digest, digest_of
from twodfs.oci.documents import (
    OCI_INDEX,
    OCI_MANIFEST,
    Descriptor,
    Document,
    Index,
    Json,
    Manifest,
    parse_manifest,
)
from twodfs.oci.referrers import merged_referrers
from twodfs.signing.attachment import Attachment
from twodfs.signing.signature import (
    MAX_PAYLOAD,
    MAX_SIGNATURES,
    Payload,
    Signed,
    check,
    signature_tag,
    signatures_in,
    signed_by_tag,
)

DIGEST = Digest("sha256:" + "ab" * 32)
SUBJECT = Document.of(
    OCI_INDEX,
    {
        "schemaVersion": 2,
        "manifests": [],
        "annotations": {"2dfs.selection": "0.0.1.1", "2dfs.source.digest": DIGEST, "other": "x"},
    },
)
PAYLOAD = Payload.of(SUBJECT, "registry.example.org/model")


class Scripted:
    """A key for which a signature is right when it is the payload backwards."""

    def verifies(self, payload: bytes, signature: bytes) -> bool:
        return signature == payload[::-1]

    def verifies_digest(self, digest: bytes, signature: bytes) -> bool:
        return signature == digest[::-1]


def signed(payload: bytes, signature: bytes | None = None) -> Signed:
    raw = {"mediaType": PAYLOAD_TYPE, "digest": digest_of(payload), "size": len(payload)}
    return Signed(Descriptor.from_dict(raw), payload[::-1] if signature is None else signature)


def test_the_bytes_that_are_signed_never_change() -> None:
    assert PAYLOAD.encode() == (
        b'{"critical":{"identity":{"docker-reference":"registry.example.org/model"},'
        b'"image":{"docker-manifest-digest":"' + SUBJECT.digest.encode() + b'"},'
        b'"type":"cosign container image signature"},'
        b'"optional":{"2dfs.selection":"0.0.1.1","2dfs.source.digest":"' + DIGEST.encode() + b'",'
        b'"creator":"twodfs-proxy"}}'
    )


def test_a_payload_is_read_back_as_it_was_written() -> None:
    read = Payload.parse(PAYLOAD.encode())
    assert read == PAYLOAD
    assert (read.source, read.selection) == (DIGEST, "0.0.1.1")


def test_a_payload_of_cosign_itself_is_read() -> None:
    read = Payload.parse(payload_of(DIGEST))
    assert (read.digest, read.optional, read.source, read.selection) == (DIGEST, {}, None, None)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (
            {"type": "atomic container signature"},
            "expected 'cosign container image signature' in 'critical.type'",
        ),
        ({"more": 1}, "expected identity, image and type, and nothing else in 'critical'"),
        ({"image": {}}, "expected a string, found nothing in 'critical.image.docker-manifest-digest'"),
        ({"image": []}, "expected an object, found list in 'critical.image'"),
        ({"identity": {"docker-reference": 7}}, "found int in 'critical.identity.docker-reference'"),
        ({"image": {"docker-manifest-digest": "sha256:AB"}}, "is not a digest"),
    ],
)
def test_a_payload_that_is_none(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(FormatError) as caught:
        Payload.parse(payload_of(DIGEST, **changes))
    assert said in str(caught.value)


@pytest.mark.parametrize("body", [b"", b"[]", b"null", b"{}", b'{"critical": null}', b"\xff", b"{" * 5000])
def test_what_is_no_payload_at_all(body: bytes) -> None:
    with pytest.raises(FormatError):
        Payload.parse(body)


def test_an_attachment_names_payload_config_and_subject() -> None:
    made = Attachment.of(SUBJECT, PAYLOAD.encode(), b"signature")
    parsed = parse_manifest(made.manifest.body, OCI_MANIFEST)
    assert isinstance(parsed, Manifest)
    assert not parsed.is_image
    assert parsed.config.digest == made.config.digest
    assert [one.digest for one in parsed.layers] == [made.payload.digest] == [digest_of(PAYLOAD.encode())]
    raw = json.loads(made.manifest.body)
    assert raw["subject"] == {
        "mediaType": OCI_INDEX,
        "digest": SUBJECT.digest,
        "size": len(SUBJECT.body),
    }
    assert raw["artifactType"] == SIGNATURE_TYPE
    assert raw["layers"][0]["annotations"] == {ANNOTATION: base64.b64encode(b"signature").decode()}
    assert set(made.documents) == {made.manifest.digest, made.config.digest, made.payload.digest}
    assert made == Attachment.of(SUBJECT, PAYLOAD.encode(), b"signature")


def test_signatures_are_found_in_what_we_and_others_write() -> None:
    ours = Attachment.of(SUBJECT, PAYLOAD.encode(), b"signature").manifest
    (found,) = signatures_in(ours)
    assert (found.signature, found.payload.digest) == (b"signature", digest_of(PAYLOAD.encode()))
    theirs, _ = signature_manifest({b"a": b"1", b"b": b"2"})
    document = Document(OCI_MANIFEST, Digest(theirs.digest), theirs.content)
    assert [one.signature for one in signatures_in(document)] == [b"1", b"2"]


def layer(**changes: Any) -> Json:
    made: Json = {"mediaType": PAYLOAD_TYPE, "digest": DIGEST, "size": 7, "annotations": {ANNOTATION: "AAAA"}}
    return made | changes


@pytest.mark.parametrize(
    "odd",
    [
        layer(mediaType="application/json"),
        layer(size=MAX_PAYLOAD + 1),
        layer(annotations=None),
        layer(annotations={}),
        layer(annotations={ANNOTATION: 7}),
        layer(annotations={ANNOTATION: "not base64!"}),
        layer(annotations={ANNOTATION: "A" * 4096}),
    ],
)
def test_layers_that_hold_no_signature_are_left_out(odd: Json) -> None:
    content: Json = {"config": layer(), "layers": [odd, layer()]}
    assert [one.signature for one in signatures_in(Document.of(OCI_MANIFEST, content))] == [b"\0\0\0"]


def test_no_more_signatures_are_looked_at_than_there_may_be() -> None:
    content: Json = {"config": layer(), "layers": [layer()] * 100}
    assert len(signatures_in(Document.of(OCI_MANIFEST, content))) == MAX_SIGNATURES


def test_an_index_carries_no_signatures() -> None:
    with pytest.raises(FormatError, match="this is an index"):
        signatures_in(SUBJECT)


def test_a_good_signature_says_what_it_vouches_for() -> None:
    body = PAYLOAD.encode()
    assert check(signed(body), body, SUBJECT.digest, [Scripted()]) == PAYLOAD


@pytest.mark.parametrize(
    ("candidate", "body", "digest", "said"),
    [
        (signed(PAYLOAD.encode()), PAYLOAD.encode() + b" ", SUBJECT.digest, "the payload was changed"),
        (signed(PAYLOAD.encode(), b"x"), PAYLOAD.encode(), SUBJECT.digest, "not by any of the given keys"),
        (signed(PAYLOAD.encode()), PAYLOAD.encode(), DIGEST, f"it vouches for {SUBJECT.digest}"),
        (signed(b"{}"), b"{}", SUBJECT.digest, "no cosign payload"),
    ],
)
def test_any_other_is_refused(candidate: Signed, body: bytes, digest: Digest, said: str) -> None:
    with pytest.raises(SignatureError, match=said):
        check(candidate, body, digest, [Scripted()])
    with pytest.raises(SignatureError):
        check(candidate, body, digest, [])


def test_tag_and_digest_lead_to_each_other() -> None:
    assert signature_tag(DIGEST) == f"sha256-{'ab' * 32}.sig"
    assert signed_by_tag(signature_tag(DIGEST)) == DIGEST
    for other in ("v1", f"sha256-{'ab' * 32}", f"sha256-{'ab' * 32}.att", f"sha512-{'ab' * 64}.sig"):
        assert signed_by_tag(other) is None


OURS = Attachment.of(SUBJECT, PAYLOAD.encode(), b"signature")
SBOM: Json = {"mediaType": OCI_MANIFEST, "digest": DIGEST, "size": 3, "artifactType": "sbom", "x": 1}


@pytest.mark.parametrize(
    ("listed", "artifact_type", "expected"),
    [
        ({}, None, [OURS.entry]),
        ({"manifests": None}, None, [OURS.entry]),
        ({"manifests": [SBOM]}, None, [SBOM, OURS.entry]),
        ({"manifests": [OURS.entry, SBOM]}, None, [OURS.entry, SBOM]),
        ({"manifests": [SBOM]}, SIGNATURE_TYPE, [OURS.entry]),
        ({"manifests": [SBOM]}, "sbom", [SBOM]),
        ({"manifests": [SBOM]}, "none", []),
    ],
)
def test_the_registrys_referrers_come_first_and_ours_once(
    listed: Json, artifact_type: str | None, expected: list[Json]
) -> None:
    merged = merged_referrers(listed, [OURS.entry], artifact_type)
    assert json.loads(merged.body)["manifests"] == expected
    assert isinstance(parse_manifest(merged.body, OCI_INDEX), Index)


def test_what_else_the_registry_says_of_its_list_survives() -> None:
    merged = json.loads(merged_referrers({"manifests": [], "annotations": {"a": "b"}}, [OURS.entry]).body)
    assert merged["annotations"] == {"a": "b"}


@pytest.mark.parametrize("listed", [{"manifests": {}}, {"manifests": [1]}])
def test_a_list_of_referrers_that_is_none(listed: Json) -> None:
    with pytest.raises(FormatError):
        merged_referrers(listed, [OURS.entry])
