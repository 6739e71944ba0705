"""What an image calls its partitions, as stores keep it: a function of its digest, so it never goes stale."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Final

import orjson

from proxy.repository import Repository
from proxy.store.records import OVERHEAD_BYTES, CorruptRecordError, Lifetime
from twodfs.field.partition import is_name
from twodfs.oci.digest import Digest

_NAME_BYTES: Final = 60
"""Of a short string, beside its characters."""


@dataclass(frozen=True, slots=True)
class PartitionNames:
    """What the fields of an image call partitions, sorted; an image without a field has none."""

    names: tuple[str, ...] = ()
    lifetime: ClassVar[Lifetime] = Lifetime.RENEWABLE

    @property
    def weight(self) -> int:
        """Bytes of memory, roughly."""
        return OVERHEAD_BYTES + sum(_NAME_BYTES + len(name) for name in self.names)

    def encode(self) -> bytes:
        """Return the names as JSON."""
        return orjson.dumps(self.names)


@dataclass(frozen=True, slots=True)
class PartitionNamesKey:
    """The names of the partitions of an image by its digest, within a repository like other content."""

    repository: Repository
    digest: Digest

    def __str__(self) -> str:
        return f"names:{self.repository}:{self.digest}"

    def decode(self, encoded: bytes) -> PartitionNames:
        """Return the names."""
        try:
            names = orjson.loads(encoded)
        except ValueError:
            raise CorruptRecordError(f"{self} is no list of names") from None
        if not isinstance(names, list) or not all(isinstance(name, str) and is_name(name) for name in names):
            raise CorruptRecordError(f"{self} is no list of names")
        return PartitionNames(tuple(names))
