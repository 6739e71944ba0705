"""Values to choose from on the command line, apart from the code behind them: ``--help`` loads this alone."""

from __future__ import annotations

from enum import StrEnum
from typing import Final

DEFAULT_NAMES: Final = ("2dfs.json", "2dfs.yaml")
"""The build file: the first that is there."""
MAX_STAGES: Final = 1000
"""Stages that a model is dealt out to, at most."""


class Anchor(StrEnum):
    """Where the allotments are made known to the registry."""

    INDEX = "index"
    NONE = "none"


class Compression(StrEnum):
    """How a layer's blob holds its tar."""

    AUTO = "auto"
    NONE = "none"
    GZIP = "gzip"
    ZSTD = "zstd"


class MediaTypes(StrEnum):
    """Whose media types an image has."""

    OCI = "oci"
    DOCKER = "docker"
    BASE = "base"


class ArchiveFormat(StrEnum):
    """The programs that an archive is for."""

    OCI = "oci"
    DOCKER = "docker"

    @classmethod
    def of(cls, name: str) -> ArchiveFormat:
        """Return the format that a file of this name has as a rule."""
        return cls.DOCKER if name.endswith((".docker", ".docker.tar")) else cls.OCI


class RunAs(StrEnum):
    """What a text about an image is for."""

    DOCKER = "docker"
    COMPOSE = "compose"
    KUBERNETES = "kubernetes"
    IMAGE_VOLUME = "image-volume"
    CONTAINERFILE = "containerfile"


class RunLayout(StrEnum):
    """How a program expects the files of a model in an image."""

    MODELCAR = "modelcar"


class Annotating(StrEnum):
    """Whose words annotations are in."""

    MODELPACK = "modelpack"
