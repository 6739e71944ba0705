"""sigstore bundles, against documents written by hand; no cryptography here."""

import base64
import json
from typing import Any

import pytest

from twodfs.errors import SignatureError
from twodfs.oci.digest import Digest
from twodfs.oci.documents import OCI_INDEX, Document
from twodfs.signing.bundle import bundle_of, check_bundle, encoded_for_signing, is_bundle_type, statement_of

SUBJECT = Document.of(OCI_INDEX, {"schemaVersion": 2, "manifests": []})
STATEMENT = statement_of(SUBJECT, {"creator": "somebody"})
GOOD = bundle_of(STATEMENT, encoded_for_signing(STATEMENT)[::-1], "hint")


class Scripted:
    """A key for which a signature is right when it is the payload backwards."""

    def verifies(self, payload: bytes, signature: bytes) -> bool:
        return signature == payload[::-1]

    def verifies_digest(self, digest: bytes, signature: bytes) -> bool:
        return signature == digest[::-1]


def enveloped(statement: object, **changes: Any) -> bytes:
    body = json.dumps(statement).encode()
    envelope = json.loads(bundle_of(body, encoded_for_signing(body)[::-1], "").body)
    envelope["dsseEnvelope"] |= changes
    return json.dumps(envelope).encode()


def test_the_bytes_that_are_signed_never_change() -> None:
    encoded = SUBJECT.digest.removeprefix("sha256:").encode()
    assert (
        b'{"_type":"https://in-toto.io/Statement/v1","subject":[{"digest":{"sha256":"' + encoded + b'"},'
        b'"annotations":{"creator":"somebody"}}],'
        b'"predicateType":"https://sigstore.dev/cosign/sign/v1","predicate":{}}'
    ) == STATEMENT
    length = str(len(STATEMENT)).encode()
    assert encoded_for_signing(STATEMENT) == (b"DSSEv1 28 application/vnd.in-toto+json " + length + b" " + STATEMENT)
    assert bundle_of(STATEMENT, encoded_for_signing(STATEMENT)[::-1], "hint") == GOOD


def test_a_bundle_is_read_back_as_it_was_written() -> None:
    told = check_bundle(GOOD.body, SUBJECT.digest, [Scripted()])
    assert (told.digest, told.optional, told.repository) == (SUBJECT.digest, {"creator": "somebody"}, "")


def test_of_several_subjects_and_signatures_one_is_enough() -> None:
    statement = json.loads(STATEMENT)
    statement["subject"] = [{"digest": {"sha512": "x"}}, {"digest": {"sha256": "y"}}, *statement["subject"]]
    good = json.loads(enveloped(statement))["dsseEnvelope"]["signatures"]
    body = enveloped(statement, signatures=[{"sig": "AAAA"}, *good])
    assert check_bundle(body, SUBJECT.digest, [Scripted()]).digest == SUBJECT.digest


def test_a_bare_signature_is_over_the_manifest() -> None:
    signature = base64.b64encode(bytes.fromhex(SUBJECT.digest[7:])[::-1]).decode()
    body = json.dumps({"messageSignature": {"signature": signature}}).encode()
    assert check_bundle(body, SUBJECT.digest, [Scripted()]).digest == SUBJECT.digest
    for digest in (Digest(f"sha256:{'0' * 64}"), Digest(f"sha512:{'0' * 128}")):
        with pytest.raises(SignatureError, match="not by any"):
            check_bundle(body, digest, [Scripted()])


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"", "malformed: not JSON"),
        (b"[]", "malformed: expected an object"),
        (b"{}", "without an envelope or a signature"),
        (b'{"dsseEnvelope": 1}', "expected an object, found int in 'dsseEnvelope'"),
        (b'{"dsseEnvelope": {}}', "expected a string, found nothing in 'dsseEnvelope.payload'"),
        (b'{"messageSignature": {"signature": "?"}}', "expected base64 in 'messageSignature.signature'"),
        (enveloped({}, payload="W10="), "not by any"),
        (enveloped({}, payloadType="text/plain"), "not by any"),
        (enveloped({}, signatures=[]), "not by any"),
        (enveloped({}, signatures=[1]), "expected an object, found int in 'dsseEnvelope.signatures[0]'"),
        (enveloped([]), "expected an object"),
        (enveloped(json.loads(STATEMENT) | {"Subject": []}), "engines take the key 'Subject'"),
        (enveloped({}), "expected an in-toto statement in '_type'"),
        (enveloped(json.loads(STATEMENT) | {"predicateType": "x"}), "it states 'x', which is no signature"),
        (enveloped(json.loads(STATEMENT) | {"subject": []}), "vouches for other digests"),
        (enveloped(json.loads(STATEMENT) | {"subject": [7]}), "in 'subject[0]'"),
    ],
)
def test_what_does_not_count(body: bytes, said: str) -> None:
    with pytest.raises(SignatureError) as caught:
        check_bundle(body, SUBJECT.digest, [Scripted()])
    assert said in str(caught.value)


@pytest.mark.parametrize(
    ("media_type", "expected"),
    [
        ("application/vnd.dev.sigstore.bundle.v0.3+json", True),
        ("application/vnd.dev.sigstore.bundle+json;version=0.2", True),
        ("application/json", False),
        (None, False),
    ],
)
def test_bundles_of_all_versions(media_type: object, *, expected: bool) -> None:
    assert is_bundle_type(media_type) == expected
