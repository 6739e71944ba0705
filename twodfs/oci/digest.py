"""Content addresses: ``algorithm:hex`` (OCI image-spec, descriptor.md, "Digests").

The field format writes bare SHA-256 hex; everything inside this package carries the algorithm.
"""

from __future__ import annotations

import hashlib
import re
from typing import NewType

from twodfs.errors import DigestError

Digest = NewType("Digest", str)

# Registered algorithms, image-spec descriptor.md "Registered Algorithms".
_REGISTERED = {
    "sha256": (re.compile(r"[a-f0-9]{64}"), hashlib.sha256),
    "sha512": (re.compile(r"[a-f0-9]{128}"), hashlib.sha512),
}
_BARE_SHA256 = re.compile(r"[a-f0-9]{64}")


def parse_digest(text: str) -> Digest:
    """Return ``text`` as a digest of a registered algorithm.

    Raises:
        DigestError: the algorithm is not registered or the hex has another length or case.
    """
    algorithm, colon, encoded = text.partition(":")
    if colon and algorithm in _REGISTERED and _REGISTERED[algorithm][0].fullmatch(encoded):
        return Digest(text)
    raise DigestError(f"{text[:140]!r} is not a digest; expected sha256:<64 lower-case hex digits>")


def is_digest(text: str) -> bool:
    """Say whether ``text`` is a digest of a registered algorithm."""
    try:
        parse_digest(text)
    except DigestError:
        return False
    return True


def digest_of(content: bytes) -> Digest:
    """Return the SHA-256 digest of ``content``."""
    return Digest("sha256:" + hashlib.sha256(content).hexdigest())


def from_bare_hex(text: str) -> Digest:
    """Return the digest that a field cell writes as bare SHA-256 hex (with ``sha256:`` is fine too).

    Raises:
        DigestError: it is neither.
    """
    return Digest("sha256:" + text) if _BARE_SHA256.fullmatch(text) else parse_digest(text)


def verify(content: bytes, digest: Digest) -> bytes:
    """Return ``content`` when it hashes to ``digest``.

    Raises:
        DigestError: it does not.
    """
    algorithm, _, encoded = digest.partition(":")
    if _REGISTERED[algorithm][1](content).hexdigest() != encoded:
        raise DigestError(f"content of {len(content)} bytes does not hash to {digest}")
    return content
