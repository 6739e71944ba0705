"""Bounds of the documents of one image together, so that every cut has a bound.

Documents are cheap to push: 64 manifests of 4 MiB each are well within the limits of registries, and a gigabyte
of objects once they are parsed.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from twodfs.errors import TooLargeError

DEFAULT_MAX_LAYERS: Final = 125
"""Docker Engine's classic store takes 125 layers and fails at 126 with "max depth exceeded"."""
MAX_DOCUMENT_BYTES: Final = 32 * 2**20
"""Bytes of index, manifests and configs; large images of many platforms have one megabyte."""
MAX_FIELD_BYTES: Final = 256 * 2**20
"""Bytes of all fields: as a rule platforms share one. A million cells take 245 MB."""
MAX_ITEMS: Final = 20_000
"""Layers of all manifests; as many diff ids, and history entries, of all configs. 64 times 125 are 8,000."""
MAX_VALUES: Final = 500_000
"""Values of JSON, as far as commas and brackets tell; each takes a hundred bytes or so when it is parsed."""


class Budget:
    """Counts the bytes and items of the documents of one image."""

    def __init__(self, most_bytes: int = MAX_DOCUMENT_BYTES, most_field_bytes: int = MAX_FIELD_BYTES) -> None:
        self._most_bytes = most_bytes
        self._most_field_bytes = most_field_bytes
        self._field_bytes = 0
        self._bytes = 0
        self._values = 0
        self._items: dict[str, int] = {}

    def announce(self, sizes: Iterable[int]) -> None:
        """Raise ``TooLargeError`` where documents of so many bytes more would be too much."""
        self._check_bytes(self._bytes + sum(sizes))

    def take(self, body: bytes) -> None:
        """Count a document that is about to be parsed.

        Raises:
            TooLargeError: it is one too many.
        """
        self._bytes += len(body)
        self._check_bytes(self._bytes)
        # Each value but the first of an array or object follows a comma; those in strings count as well.
        self._values += sum(map(body.count, (b",", b"[", b"{")))
        if self._values > MAX_VALUES:
            raise TooLargeError(
                f"the manifests and configs of this image have more than {MAX_VALUES} values together, "
                f"which is more than is read for a partition"
            )

    def announce_fields(self, sizes: Iterable[int]) -> None:
        """Raise ``TooLargeError`` where fields of so many bytes would be too much."""
        self._check_fields(sum(sizes))

    def take_field(self, size: int) -> None:
        """Count a field that is kept for the cut, ``size`` bytes of memory, which is less than its JSON has.

        Raises:
            TooLargeError: it is one too many.
        """
        self._field_bytes += size
        self._check_fields(self._field_bytes)

    def count(self, items: int, what: str) -> None:
        """Count items found in a document, such as layers.

        Raises:
            TooLargeError: together with those of the others they are too many.
        """
        self._items[what] = self._items.get(what, 0) + items
        if self._items[what] > MAX_ITEMS:
            raise TooLargeError(
                f"this image has more than {MAX_ITEMS} {what} over all its platforms, "
                f"which is more than is read for a partition"
            )

    def _check_bytes(self, found: int) -> None:
        if found > self._most_bytes:
            raise TooLargeError(
                f"the manifests and configs of this image have {found} bytes together, and at most "
                f"{self._most_bytes} are read for a partition; fewer platforms or layers have less"
            )

    def _check_fields(self, found: int) -> None:
        if found > self._most_field_bytes:
            raise TooLargeError(
                f"the fields of this image have {found} bytes together, and at most {self._most_field_bytes} "
                f"are read for a partition; platforms may share a field"
            )
