"""Signatures as cosign has written them since version 3: sigstore bundles, checked with keys alone.

A **bundle** is a JSON document with one signature in it (sigstore/protobuf-specs, sigstore_bundle.proto). It
holds a DSSE envelope around an in-toto statement, whose subjects are the digests that it speaks of and whose
``predicateType`` says which facts it states of them; or a bare signature over the bytes of the image's manifest.

Of the envelope, the *pre-authentication encoding* is signed (secure-systems-lab/dsse, protocol.md).
Certificates, time stamps and entries of transparency logs are not looked at: a key that the caller trusts
made the signature, or the bundle is ignored.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

import orjson

from twodfs.errors import FormatError, SignatureError, within
from twodfs.oci.digest import Digest
from twodfs.oci.documents import Document, Json, expect, parse_object
from twodfs.oci.spelling import Keys
from twodfs.signing.signature import PAYLOAD_TYPE, Payload, SignatureVerifier

BUNDLE_TYPE: Final = "application/vnd.dev.sigstore.bundle.v0.3+json"
"""Media type of a bundle, and the artifact type under which cosign looks for it among referrers."""
SIGNED_PREDICATE: Final = "https://sigstore.dev/cosign/sign/v1"
"""The predicate type of a statement that only signs its subjects."""
CONTENT_ANNOTATION: Final = "dev.sigstore.bundle.content"
PREDICATE_ANNOTATION: Final = "dev.sigstore.bundle.predicateType"
MAX_BUNDLE: Final = 256 * 1024
"""Bytes of a bundle; cosign's own have less than one KiB, and some ten with certificates and log entries."""

_ANY_VERSION: Final = "application/vnd.dev.sigstore.bundle"
_STATEMENT: Final = "application/vnd.in-toto+json"
_STATEMENT_KINDS: Final = frozenset({"https://in-toto.io/Statement/v1", "https://in-toto.io/Statement/v0.1"})
_BUNDLE_KEYS: Final = Keys("mediaType", "verificationMaterial", "dsseEnvelope", "messageSignature")
_ENVELOPE_KEYS: Final = Keys("payload", "payloadType", "signatures")
_STATEMENT_KEYS: Final = Keys("_type", "subject", "predicateType", "predicate")
_SUBJECT_KEYS: Final = Keys("name", "digest", "annotations")
_MOST_SIGNATURES: Final = 8
_MOST_SUBJECTS: Final = 1024


def is_bundle_type(media_type: object) -> bool:
    """Say whether ``media_type`` is that of a bundle of any version."""
    return isinstance(media_type, str) and media_type.startswith(_ANY_VERSION)


def is_signature_layer(media_type: str) -> bool:
    """Say whether a layer of this type is a signature, in either of cosign's formats."""
    return media_type == PAYLOAD_TYPE or is_bundle_type(media_type)


def encoded_for_signing(statement: bytes) -> bytes:
    """Return the signed bytes of a statement: DSSE's pre-authentication encoding."""
    return _encoding(_STATEMENT, statement)


def statement_of(subject: Document, annotations: Mapping[str, str]) -> bytes:
    """Return the statement that signs ``subject``, with further ``annotations`` of the signer, as cosign does."""
    algorithm, _, encoded = subject.digest.partition(":")
    named: Json = {"digest": {algorithm: encoded}}
    if annotations:
        named["annotations"] = dict(sorted(annotations.items()))
    return orjson.dumps(
        {
            "_type": "https://in-toto.io/Statement/v1",
            "subject": [named],
            "predicateType": SIGNED_PREDICATE,
            "predicate": {},
        }
    )


def bundle_of(statement: bytes, signature: bytes, hint: str) -> Document:
    """Return the bundle of a ``signature`` that was made over ``encoded_for_signing(statement)``.

    ``hint`` tells verifiers which of their keys it may be: cosign's is the base64 of the key's SHA-256.
    """
    return Document.of(
        BUNDLE_TYPE,
        {
            "mediaType": BUNDLE_TYPE,
            "verificationMaterial": {"publicKey": {"hint": hint}},
            "dsseEnvelope": {
                "payload": base64.b64encode(statement).decode(),
                "payloadType": _STATEMENT,
                "signatures": [{"sig": base64.b64encode(signature).decode()}],
            },
        },
    )


def check_bundle(body: bytes, digest: Digest, keys: Sequence[SignatureVerifier]) -> Payload:
    """Return the statement of a bundle once it is known that one of ``keys`` signed it for ``digest``.

    Nothing of a statement is looked at before its signature was found to be right.

    Raises:
        SignatureError: no key made the signature, or it vouches for something else.
    """
    try:
        raw = parse_object(body)
        _BUNDLE_KEYS.check(raw)
        if "dsseEnvelope" in raw:
            with within("dsseEnvelope"):
                statement = _opened(expect(raw["dsseEnvelope"], dict, ""), keys)
            return _checked_statement(statement, digest)
        if "messageSignature" in raw:
            with within("messageSignature"):
                message = expect(raw["messageSignature"], dict, "")
                _check_message(_bytes(message, "signature"), digest, keys)
            return Payload("", digest)
    except FormatError as error:
        raise SignatureError(f"it is in a bundle that is malformed: {error}") from None
    raise SignatureError("it is in a bundle without an envelope or a signature")


def _opened(envelope: Json, keys: Iterable[SignatureVerifier]) -> bytes:
    """Return the payload of an envelope that one of ``keys`` signed."""
    _ENVELOPE_KEYS.check(envelope)
    content = _bytes(envelope, "payload")
    media_type = expect(envelope.get("payloadType"), str, "payloadType")
    entries = expect(envelope.get("signatures"), list, "signatures")[:_MOST_SIGNATURES]
    signed = _encoding(media_type, content)
    signatures = [_bytes(expect(one, dict, f"signatures[{at}]"), "sig") for at, one in enumerate(entries)]
    if not any(key.verifies(signed, signature) for key in keys for signature in signatures):
        raise SignatureError("it is not by any of the given keys")
    if media_type != _STATEMENT:
        raise SignatureError(f"what is signed is no statement but {media_type[:140]!r}")
    return content


def _checked_statement(statement: bytes, digest: Digest) -> Payload:
    raw = parse_object(statement)
    _STATEMENT_KEYS.check(raw)
    if raw.get("_type") not in _STATEMENT_KINDS:
        raise FormatError("expected an in-toto statement", "_type")
    predicate = expect(raw.get("predicateType"), str, "predicateType")
    if predicate != SIGNED_PREDICATE:
        raise SignatureError(f"it states {predicate[:140]!r}, which is no signature")
    algorithm, _, encoded = digest.partition(":")
    for at, one in enumerate(expect(raw.get("subject"), list, "subject")[:_MOST_SUBJECTS]):
        with within(f"subject[{at}]"):
            subject = expect(one, dict, "")
            _SUBJECT_KEYS.check(subject)
            if expect(subject.get("digest"), dict, "digest").get(algorithm) == encoded:
                told = subject.get("annotations")
                return Payload("", digest, {} if told is None else expect(told, dict, "annotations"))
    raise SignatureError("it vouches for other digests")


def _check_message(signature: bytes, digest: Digest, keys: Iterable[SignatureVerifier]) -> None:
    """Check a signature over the image's manifest, whose SHA-256 its digest is."""
    algorithm, _, encoded = digest.partition(":")
    hashed = bytes.fromhex(encoded)
    if algorithm != "sha256" or not any(key.verifies_digest(hashed, signature) for key in keys):
        raise SignatureError("it is not by any of the given keys")


def _encoding(payload_type: str, payload: bytes) -> bytes:
    named = payload_type.encode("utf-8", "surrogatepass")
    return b"DSSEv1 %d %s %d %s" % (len(named), named, len(payload), payload)


def _bytes(holder: Mapping[str, Any], key: str) -> bytes:
    text = expect(holder.get(key), str, key)
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise FormatError("expected base64", key) from None
