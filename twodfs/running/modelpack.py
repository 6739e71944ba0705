"""Annotations in the words of ModelPack, the CNCF's specification of models in registries. Pure.

Its keys ``org.cnai.model.*`` follow OCI's ``org.opencontainers.image.*`` word by word, so what the image says about
itself is said again; ``org.cnai.model.filepath`` is where its files are. A partition stays an image: it does not
become an artifact of ModelPack's own media types, which container engines do not run.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

_OCI: Final = "org.opencontainers.image."
_MODEL: Final = "org.cnai.model."

SHARED: Final = tuple(
    f"{_OCI}{word}"
    for word in (
        *("created", "authors", "url", "documentation", "source", "version", "revision", "vendor", "licenses"),
        *("title", "description"),
    )
)
"""OCI's annotations that ModelPack has as well."""


def model_annotations(said: Mapping[str, str], places: Sequence[str]) -> dict[str, str]:
    """Return ModelPack's annotations for an image that says ``said`` about itself and has files at ``places``."""
    shared = {key.replace(_OCI, _MODEL, 1): said[key] for key in SHARED if key in said}
    return {**shared, **({f"{_MODEL}filepath": places[0]} if len(places) == 1 else {})}
