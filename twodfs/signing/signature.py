"""Signatures as cosign writes them (sigstore/cosign, specs/SIGNATURE_SPEC.md), but for the mathematics.

Signed is a **payload**: a JSON document ("simple signing") that names the digest of a manifest or
index. A **signature manifest** carries it: an image manifest whose layers are payloads, each with the base64
of its signature in an annotation. It is found by a tag made of the signed digest, ``sha256-<hex>.sig``, and
as a *referrer*: its ``subject`` points at the signed manifest (distribution-spec v1.1, "Listing Referrers").

The output of this module depends on its arguments alone: no time, no random, keys in one order.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

import orjson

from twodfs.errors import DigestError, FormatError, SignatureError, within
from twodfs.flatten.cut import SELECTION_ANNOTATION, SOURCE_ANNOTATION
from twodfs.oci.digest import Digest, parse_digest, verify
from twodfs.oci.documents import Descriptor, Document, Manifest, annotation_in, expect, parse_manifest, parse_object
from twodfs.oci.spelling import Keys

PAYLOAD_TYPE: Final = "application/vnd.dev.cosign.simplesigning.v1+json"
SIGNATURE_TYPE: Final = "application/vnd.dev.cosign.artifact.sig.v1+json"
"""The artifact type under which cosign looks for signatures among referrers."""
SIGNATURE_ANNOTATION: Final = "dev.cosignproject.cosign/signature"
MAX_PAYLOAD: Final = 64 * 1024
"""Bytes of a payload; cosign's own have some two hundred."""
MAX_SIGNATURES: Final = 32
"""How many signatures of one manifest are looked at."""

_PAYLOAD_KEYS: Final = Keys("critical", "optional")
_IDENTITY_KEYS: Final = Keys("docker-reference")
_IMAGE_KEYS: Final = Keys("docker-manifest-digest")
_PAYLOAD_KIND: Final = "cosign container image signature"
_CREATOR: Final = "twodfs-proxy"
_TAG: Final = re.compile(r"sha256-([a-f0-9]{64})\.sig")
_MAX_SIGNATURE_BYTES: Final = 1024


class SignatureVerifier(Protocol):
    """A public key."""

    def verifies(self, payload: bytes, signature: bytes) -> bool:
        """Say whether ``signature`` was made over ``payload`` with the key's other half."""

    def verifies_digest(self, digest: bytes, signature: bytes) -> bool:
        """Say the same of a payload whose SHA-256 is ``digest``."""


def signed_annotations(partition: Document) -> dict[str, str]:
    """Return the annotations of our signatures for a document of a partition."""
    annotations = parse_object(partition.body).get("annotations", {})
    told = {key: annotations[key] for key in (SELECTION_ANNOTATION, SOURCE_ANNOTATION)}
    return told | {"creator": _CREATOR}


@dataclass(frozen=True, slots=True)
class Payload:
    """The content of a signature.

    Attributes:
        repository: under what name the signer knew the image (``docker-reference``); empty where it is not
            given. Nothing depends on it: the specification says that it is ignored.
        digest: of the manifest or index that is signed.
        optional: further annotations of the signer.
    """

    repository: str
    digest: Digest
    optional: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, subject: Document, repository: str) -> Payload:
        """Return the payload to sign for ``subject``, a document of a partition.

        Its source and its selection, which are in its annotations, are told in the payload as well.
        """
        return cls(repository, subject.digest, signed_annotations(subject))

    @classmethod
    def parse(cls, body: bytes) -> Payload:
        """Return the payload in ``body``.

        Raises:
            FormatError: it is none, or says more than the format allows.
        """
        raw = parse_object(body)
        _PAYLOAD_KEYS.check(raw)
        critical = expect(raw.get("critical"), dict, "critical")
        with within("critical"):
            # "critical" must be understood by a verifier: unknown members in it are refused.
            if set(critical) != {"identity", "image", "type"}:
                raise FormatError("expected identity, image and type, and nothing else")
            if critical["type"] != _PAYLOAD_KIND:
                raise FormatError(f"expected {_PAYLOAD_KIND!r}", "type")
            identity = expect(critical["identity"], dict, "identity")
            image = expect(critical["image"], dict, "image")
            with within("identity"):
                _IDENTITY_KEYS.check(identity)
            with within("image"):
                _IMAGE_KEYS.check(image)
            repository = expect(identity.get("docker-reference"), str, "identity.docker-reference")
            text = expect(image.get("docker-manifest-digest"), str, "image.docker-manifest-digest")
            try:
                digest = parse_digest(text)
            except DigestError as error:
                raise FormatError(str(error), "image.docker-manifest-digest") from None
        optional = raw.get("optional")
        return cls(repository, digest, {} if optional is None else expect(optional, dict, "optional"))

    def encode(self) -> bytes:
        """Return the bytes that are signed."""
        critical = {
            "identity": {"docker-reference": self.repository},
            "image": {"docker-manifest-digest": self.digest},
            "type": _PAYLOAD_KIND,
        }
        optional = dict(sorted(self.optional.items()))
        return orjson.dumps({"critical": critical, "optional": optional})

    @property
    def source(self) -> str | None:
        """The digest of the image that a partition was cut from."""
        return self._optional_text(SOURCE_ANNOTATION)

    @property
    def selection(self) -> str | None:
        """The part of the field that a partition holds."""
        return self._optional_text(SELECTION_ANNOTATION)

    def _optional_text(self, key: str) -> str | None:
        value = self.optional.get(key)
        return value if isinstance(value, str) else None


@dataclass(frozen=True, slots=True)
class Signed:
    """One signature of a signature manifest, and where its payload is."""

    payload: Descriptor
    signature: bytes


def signature_tag(digest: Digest) -> str:
    """Return the tag under which the signatures of ``digest`` are found."""
    return f"{digest.replace(':', '-')}.sig"


def signed_by_tag(tag: str) -> Digest | None:
    """Return the digest whose signatures ``tag`` names; None when it is another kind of tag."""
    match = _TAG.fullmatch(tag)
    return Digest(f"sha256:{match[1]}") if match else None


def signatures_in(manifest: Document) -> list[Signed]:
    """Return the signatures that a signature manifest carries, at most ``MAX_SIGNATURES``.

    Layers of other kinds, and those with a payload too long or a signature that is none, are left out.

    Raises:
        FormatError: it is no image manifest.
    """
    parsed = parse_manifest(manifest.body, manifest.media_type)
    if not isinstance(parsed, Manifest):
        raise FormatError("a signature manifest is an image manifest, this is an index")
    found = []
    for layer in parsed.layers:
        if layer.media_type != PAYLOAD_TYPE or layer.size > MAX_PAYLOAD:
            continue
        signature = _signature(layer)
        if signature is not None:
            found.append(Signed(layer, signature))
        if len(found) == MAX_SIGNATURES:
            break
    return found


def _signature(layer: Descriptor) -> bytes | None:
    encoded = annotation_in(layer.raw, SIGNATURE_ANNOTATION)
    if encoded is None or len(encoded) > _MAX_SIGNATURE_BYTES:
        return None
    try:
        return base64.b64decode(encoded, validate=True)
    except (binascii.Error, ValueError):
        return None


def check(signed: Signed, payload: bytes, digest: Digest, keys: Iterable[SignatureVerifier]) -> Payload:
    """Return the content of ``payload`` once it is known that one of ``keys`` signed it for ``digest``.

    Nothing in the payload is looked at before the signature was found to be right.

    Raises:
        SignatureError: no key made the signature, or it vouches for something else.
    """
    try:
        verify(payload, signed.payload.digest)
    except DigestError as error:
        raise SignatureError(f"the payload was changed: {error}") from None
    if not any(key.verifies(payload, signed.signature) for key in keys):
        raise SignatureError("it is not by any of the given keys")
    try:
        told = Payload.parse(payload)
    except FormatError as error:
        raise SignatureError(f"what is signed is no cosign payload: {error}") from None
    if told.digest != digest:
        raise SignatureError(f"it vouches for {told.digest}")
    return told
