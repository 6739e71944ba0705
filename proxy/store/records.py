"""The records of a store, and their seals.

A record on its way to a store outside this process is sealed with a hash over its key and its bytes; a record
whose seal is wrong when it comes back counts as missing. With a secret (``cache.secret``) the seal is an HMAC, which
tells forgeries as well as corruption. The kinds of records are defined by the packages above.
"""

from __future__ import annotations

import hashlib
import hmac
from enum import Enum
from typing import Any, Final, Generic, Protocol, TypeVar

_SEAL_BYTES: Final = 32
OVERHEAD_BYTES: Final = 400
"""The rough overhead of a Python object beside its bytes; keeps a cache of many small records honest."""


class CorruptRecordError(Exception):
    """The bytes from a store differ from those put there."""


class Lifetime(Enum):
    """How long a store outside this process keeps a record."""

    RENEWABLE = "renewable"
    """It can be made again: for ``cache.ttl``."""
    LASTING = "lasting"
    """Lost, it is lost for good: for ``cache.recipe_days``."""


class Record(Protocol):
    """Anything remembered."""

    @property
    def lifetime(self) -> Lifetime:
        """How long it is kept."""

    @property
    def weight(self) -> int:
        """Bytes of memory, roughly."""

    def encode(self) -> bytes:
        """Return the record as bytes."""


R_co = TypeVar("R_co", bound=Record, covariant=True)


class RecordKey(Protocol, Generic[R_co]):
    """Names one record and knows how to read it back."""

    def __str__(self) -> str:
        """Return the name under which stores keep it."""

    def __hash__(self) -> int:
        """Keys are values."""

    def decode(self, encoded: bytes) -> R_co:
        """Return the record in ``encoded``; raises ``CorruptRecordError`` when it cannot be this key's."""


def seal(key: RecordKey[Any], record: Record, secret: bytes = b"") -> bytes:
    """Return ``record`` as bytes that only ``unseal`` with the same key and secret accepts."""
    encoded = record.encode()
    return _hash(key, encoded, secret) + encoded


def unseal(key: RecordKey[R_co], sealed: bytes, secret: bytes = b"") -> R_co:
    """Return the record in ``sealed``.

    Raises:
        CorruptRecordError: it was not sealed for this key with this secret.
    """
    encoded = sealed[_SEAL_BYTES:]
    if not hmac.compare_digest(_hash(key, encoded, secret), sealed[:_SEAL_BYTES]):
        raise CorruptRecordError(f"{key} was changed in the store")
    return key.decode(encoded)


def _hash(key: RecordKey[Any], encoded: bytes, secret: bytes) -> bytes:
    named = f"{key}\n".encode()
    hashed = hmac.new(secret, named, "sha256") if secret else hashlib.sha256(named)
    hashed.update(encoded)
    return hashed.digest()
