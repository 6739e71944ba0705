"""Records of our signatures: the bytes, and the way back from their documents to their subjects.

They grant nothing: the right to read a subject is found out by its provenance.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

from proxy.store.records import OVERHEAD_BYTES, CorruptRecordError, Lifetime
from twodfs.errors import TwodfsError
from twodfs.oci.digest import Digest, parse_digest


@dataclass(frozen=True, slots=True)
class Subject:
    """The subject of a signature's document: a manifest or index of ours."""

    digest: Digest
    weight: int = OVERHEAD_BYTES
    lifetime: ClassVar[Lifetime] = Lifetime.LASTING

    def encode(self) -> bytes:
        """Return the digest."""
        return self.digest.encode()


@dataclass(frozen=True, slots=True)
class SubjectKey:
    """The subject of a signature manifest, its config or its payload, by that document's digest.

    It leads to the signed document and from there to its provenances, so it grants nothing.
    """

    digest: Digest

    def __str__(self) -> str:
        return f"subject:{self.digest}"

    def decode(self, encoded: bytes) -> Subject:
        """Return the subject."""
        try:
            return Subject(parse_digest(encoded.decode("ascii")))
        except (UnicodeDecodeError, TwodfsError):
            raise CorruptRecordError(f"{self} is not a digest") from None


@dataclass(frozen=True, slots=True)
class Signature:
    """The bytes of a signature; the documents around it are made anew."""

    body: bytes = field(repr=False)
    weight: int = OVERHEAD_BYTES
    lifetime: ClassVar[Lifetime] = Lifetime.RENEWABLE

    def encode(self) -> bytes:
        """Return the signature itself."""
        return self.body


@dataclass(frozen=True, slots=True)
class SignatureKey:
    """A signature by the SHA-256 of the signed bytes, and the fingerprint of the key that signs."""

    payload: Digest
    signer: str

    def __str__(self) -> str:
        return f"signature:{self.signer}:{self.payload}"

    def decode(self, encoded: bytes) -> Signature:
        """Return the signature, which is an ASN.1 sequence of fewer than 128 bytes."""
        if encoded[:2] != bytes([0x30, (len(encoded) - 2) % 128]):
            raise CorruptRecordError(f"{self} is no signature")
        return Signature(encoded)
