"""ECDSA keys on NIST's P-256 curve, the scheme that every cosign signature can be checked with.

Signing is deterministic (RFC 6979): the same key and payload give the same bytes everywhere, so that replicas
which share a key serve the same signature manifest under the same digest.
"""

from __future__ import annotations

import base64
import hashlib
from typing import Final

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, utils

from twodfs.errors import KeyFormatError

_HASH: Final = hashes.SHA256()
_PREHASHED: Final = utils.Prehashed(_HASH)


class PublicKey:
    """Checks signatures."""

    def __init__(self, key: ec.EllipticCurvePublicKey) -> None:
        self._key = key
        written = key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
        hashed = hashlib.sha256(written)
        self.fingerprint: Final = f"sha256:{hashed.hexdigest()}"
        """The SHA-256 of the key's DER form: it tells keys apart."""
        self.hint: Final = base64.b64encode(hashed.digest()).decode()
        """The same as cosign writes it into bundles."""

    @classmethod
    def parse(cls, pem: bytes) -> PublicKey:
        """Return the key in ``pem`` ("BEGIN PUBLIC KEY"), as cosign and openssl write it.

        Raises:
            KeyFormatError: it holds something else, or a key of another kind.
        """
        try:
            key = serialization.load_pem_public_key(pem)
        except (ValueError, UnsupportedAlgorithm):
            raise KeyFormatError(
                "expected a public key in PEM (BEGIN PUBLIC KEY); 'cosign public-key' and "
                "'openssl pkey -pubout' write one"
            ) from None
        if not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(key.curve, ec.SECP256R1):
            raise KeyFormatError("expected an ECDSA key on the curve P-256, as cosign makes them")
        return cls(key)

    def verifies(self, payload: bytes, signature: bytes) -> bool:
        """Say whether ``signature`` (ASN.1, SHA-256) was made over ``payload`` with this key's other half."""
        return self._verifies(payload, signature, _HASH)

    def verifies_digest(self, digest: bytes, signature: bytes) -> bool:
        """Say the same of a payload whose SHA-256 is ``digest`` (32 bytes)."""
        return self._verifies(digest, signature, _PREHASHED)

    def _verifies(self, signed: bytes, signature: bytes, algorithm: hashes.HashAlgorithm | utils.Prehashed) -> bool:
        try:
            self._key.verify(signature, signed, ec.ECDSA(algorithm))
        except InvalidSignature:
            return False
        return True


class PrivateKey:
    """Makes signatures."""

    def __init__(self, key: ec.EllipticCurvePrivateKey) -> None:
        """Take ``key``.

        Raises:
            KeyFormatError: the OpenSSL that is in use cannot sign deterministically.
        """
        self._key = key
        self.public_key: Final = PublicKey(key.public_key())
        try:
            self.sign_digest(hashlib.sha256(b"").digest())
        except UnsupportedAlgorithm:
            raise KeyFormatError(
                "deterministic ECDSA (RFC 6979) needs OpenSSL 3.2 or later, which the wheels of the "
                "'cryptography' package bring along; without it replicas would disagree"
            ) from None

    @classmethod
    def parse(cls, pem: bytes) -> PrivateKey:
        """Return the key in ``pem`` ("BEGIN PRIVATE KEY" or "BEGIN EC PRIVATE KEY"), without a password.

        Raises:
            KeyFormatError: it holds something else, or a key of another kind.
        """
        try:
            key = serialization.load_pem_private_key(pem, password=None)
        except (ValueError, TypeError, UnsupportedAlgorithm):
            raise KeyFormatError(
                "expected a private key in PEM without a password; 'openssl genpkey -algorithm EC "
                "-pkeyopt ec_paramgen_curve:P-256' writes one"
            ) from None
        if not isinstance(key, ec.EllipticCurvePrivateKey) or not isinstance(key.curve, ec.SECP256R1):
            raise KeyFormatError("expected an ECDSA key on the curve P-256")
        return cls(key)

    def sign_digest(self, digest: bytes) -> bytes:
        """Return the ASN.1 signature over a payload whose SHA-256 is ``digest`` (32 bytes)."""
        return self._key.sign(digest, ec.ECDSA(_PREHASHED, deterministic_signing=True))
