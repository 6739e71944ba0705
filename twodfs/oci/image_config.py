"""Image configs (image-spec, config.md)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from twodfs.errors import within
from twodfs.oci.digest import Digest
from twodfs.oci.documents import Json, digest_in, expect, list_in, parse_object
from twodfs.oci.spelling import check_config_keys, check_history_keys

MAX_CONFIG_BYTES: Final = 8 * 1024 * 1024
"""Bytes of a config that are read at the most."""


@dataclass(frozen=True, slots=True)
class ImageConfig:
    """An image config: the parts that grow with the layers, and all the rest untouched."""

    diff_ids: tuple[Digest, ...]
    history: tuple[Json, ...]
    created: str | None
    raw: Mapping[str, Any] = field(repr=False)

    @classmethod
    def parse(cls, body: bytes) -> ImageConfig:
        """Return the config in ``body`` (image-spec, config.md).

        Raises:
            FormatError: it is no JSON object, ``rootfs.diff_ids`` or ``history`` are malformed, or a known
                property is spelled otherwise.
        """
        raw = parse_object(body)
        check_config_keys(raw)
        rootfs = expect(raw.get("rootfs"), dict, "rootfs")
        with within("rootfs"):
            diff_ids = list_in(rootfs, "diff_ids")
            parsed = tuple(digest_in(one, f"diff_ids[{at}]") for at, one in enumerate(diff_ids))
        history = tuple(expect(one, dict, f"history[{at}]") for at, one in enumerate(list_in(raw, "history")))
        check_history_keys(history)
        created = raw.get("created")
        return cls(parsed, history, created if isinstance(created, str) else None, raw)
