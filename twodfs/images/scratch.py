"""A base without files."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from twodfs.oci.platforms import Platform
from twodfs.storage.store import ImageStore

if TYPE_CHECKING:
    from twodfs.flatten.compose import Base

SCRATCH: Final = "scratch"
DEFAULT_PLATFORM: Final = Platform("linux", "amd64")


def scratch(platforms: Sequence[Platform], store: ImageStore) -> Base:
    """Return a base without files, its configs in ``store``."""
    from twodfs.flatten.compose import Base, scratch_config, scratch_image  # noqa: PLC0415 - an unchanged image has it

    wanted = tuple(dict.fromkeys(platforms)) or (DEFAULT_PLATFORM,)
    for platform in wanted:
        store.put(scratch_config(platform).body)
    return Base(tuple(scratch_image(platform) for platform in wanted))
