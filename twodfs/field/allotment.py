"""An allotment: one cell of a field, and the layer blob that it points to."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from twodfs.errors import DigestError, FormatError
from twodfs.oci.digest import Digest, from_bare_hex
from twodfs.oci.documents import (
    FIELD_LAYER,
    LARGEST_SIZE,
    OCI_LAYER_GZIP,
    OCI_LAYER_ZSTD,
    Json,
    check_size,
    expect,
)
from twodfs.oci.spelling import Keys

MAX_COORDINATE = 2**31 - 1
CELL_KEYS = Keys(
    *("row", "col", "digest", "diffid", "size", "mediaType"),
    *("tocDigest", "compression", "compressedSize"),  # of the fork that writes eStargz and zstd:chunked
)
INFERRED_ZSTD: Final = (OCI_LAYER_ZSTD, True)
"""The result of ``media_type_in`` for a type that is read from ``compression``."""
_LONGEST_TYPE: Final = 255
"""RFC 6838, section 4.2: two names of 127 characters at most, and a slash."""
_LAYER_TYPE: Final = re.compile(rf"[^\x00-\x1f\x7f-\x9f\ud800-\udfff]{{1,{_LONGEST_TYPE}}}")


@dataclass(frozen=True, slots=True)
class Allotment:
    """One cell.

    ``size`` is the blob's bytes, None where the builder did not record it. ``is_inferred`` says that its
    media type was read from ``compression``, which flattening version 1 did not look at.
    """

    row: int
    col: int
    digest: Digest
    diff_id: Digest
    size: int | None = None
    media_type: str = OCI_LAYER_GZIP
    is_inferred: bool = False

    @classmethod
    def from_dict(cls, raw: object) -> Allotment | None:
        """Return the allotment in ``raw``, None for a hole.

        Raises:
            FormatError: malformed; with the path inside the cell.
        """
        cell = expect(raw, dict, "")
        CELL_KEYS.check(cell)
        if cell.get("digest") in ("", None):
            return None
        is_inferred = media_type_in(cell) is INFERRED_ZSTD
        return cls(
            row=_coordinate(cell, "row"),
            col=_coordinate(cell, "col"),
            digest=_bare_digest(cell, "digest"),
            diff_id=_bare_digest(cell, "diffid"),
            size=check_size(expect(size_in(cell), int, "size"), "size") or None,
            media_type=OCI_LAYER_ZSTD if is_inferred else _media_type(cell),
            is_inferred=is_inferred,
        )

    def to_dict(self) -> Json:
        """Return the cell's JSON, keys in the original's order."""
        written: Json = {
            "row": self.row,
            "col": self.col,
            "digest": self.digest.removeprefix("sha256:"),
            "diffid": self.diff_id.removeprefix("sha256:"),
        }
        if self.size is not None:
            written |= {"size": self.size, "mediaType": self.media_type}
        return written


def is_layer_type(value: object) -> bool:
    """Say whether ``value`` can be the media type of a layer: a text that is safe to show.

    A partition that listed the field's own type would be a 2DFS image again, with a layer for its field.
    """
    return isinstance(value, str) and value.lower() != FIELD_LAYER and _LAYER_TYPE.fullmatch(value) is not None


def size_in(cell: Json) -> object:
    """Return the cell's ``size``, not checked, else its ``compressedSize`` where that can be one, else 0.

    No layer is empty; 0 is how Go writes a number that is not set.
    """
    size = cell.get("size")
    if size is not None and (size != 0 or type(size) is not int):
        return size
    other = cell.get("compressedSize")
    return other if type(other) is int and 0 < other <= LARGEST_SIZE else 0


def media_type_in(cell: Json) -> object:
    """Return the cell's ``mediaType``, not checked, else the one for its ``compression``.

    The fork writes "zstd", "stargz", which is gzip unless one looks closer, or nothing.
    """
    if "mediaType" in cell:
        return cell["mediaType"]
    return INFERRED_ZSTD if cell.get("compression") == "zstd" else OCI_LAYER_GZIP


def _media_type(cell: Json) -> str:
    media_type = expect(cell.get("mediaType", OCI_LAYER_GZIP), str, "mediaType")
    if not is_layer_type(media_type):
        why = (
            "is the field's own type"
            if media_type.lower() == FIELD_LAYER
            else f"is no media type of 1 to {_LONGEST_TYPE} characters without control characters"
        )
        raise FormatError(f"{media_type[:140]!r} {why}", "mediaType")
    return media_type


def _coordinate(cell: Json, key: str) -> int:
    value = expect(cell.get(key), int, key)
    if not 0 <= value <= MAX_COORDINATE:
        raise FormatError(f"{value} is outside 0..{MAX_COORDINATE}", key)
    return value


def _bare_digest(cell: Json, key: str) -> Digest:
    try:
        return from_bare_hex(expect(cell.get(key), str, key))
    except DigestError as error:
        raise FormatError(str(error), key) from None
