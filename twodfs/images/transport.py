"""Names of base images, as skopeo writes them (containers-transports(5)).

::

    base          = "scratch" / [ "docker://" ] reference / transport ":" path [ ":" name ]
    transport     = "oci"             ; an OCI layout directory
                  / "oci-archive"     ; a tar archive of one
                  / "docker-archive"  ; what ``docker save`` writes
    base          =/ "docker-daemon:" reference  ; of the Docker Engine of this machine

``path`` has no colon. ``name`` chooses among several images.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from twodfs.errors import InvalidReferenceError
from twodfs.oci.reference import Reference

if TYPE_CHECKING:
    from twodfs.images.inflation import Inflation
    from twodfs.images.source import ImageSource

OCI: Final = "oci"
OCI_ARCHIVE: Final = "oci-archive"
DOCKER_ARCHIVE: Final = "docker-archive"
DOCKER_DAEMON: Final = "docker-daemon"

_REGISTRY = "docker://"


@dataclass(frozen=True, slots=True)
class LocalImage:
    """An image on this machine: in a file, in a directory or, without a path, in the Docker Engine.

    ``name`` is empty where there is one image.
    """

    transport: str
    path: Path
    name: str = ""

    @contextmanager
    def open(self, scratch: Path, inflation: Inflation) -> Iterator[ImageSource]:
        """Yield the image.

        Args:
            scratch: a directory for temporary files.
            inflation: how many bytes compressed data may inflate to.

        Raises:
            BuildError: it cannot be read, has no such image, or contradicts itself.
            DigestError: it is damaged.
        """
        from twodfs.images.archive import Archive, Directory  # noqa: PLC0415 - most bases are in registries
        from twodfs.images.layout import LayoutImage  # noqa: PLC0415
        from twodfs.images.saved import saved_image  # noqa: PLC0415

        if self.transport == OCI:
            yield LayoutImage(Directory(self.path), self.name)
            return
        if self.transport == DOCKER_DAEMON:
            from twodfs.images.daemon import saved_by_engine  # noqa: PLC0415 - loads an HTTP client

            with (
                saved_by_engine(self.name, scratch, inflation) as path,
                Archive(path, scratch, inflation) as archive,
            ):
                yield saved_image(archive, "", inflation)
            return
        with Archive(self.path, scratch, inflation) as archive:
            is_saved = self.transport == DOCKER_ARCHIVE
            yield saved_image(archive, self.name, inflation) if is_saved else LayoutImage(archive, self.name)

    def __str__(self) -> str:
        if self.transport == DOCKER_DAEMON:
            return f"{self.transport}:{self.name}"
        return f"{self.transport}:{self.path}{':' if self.name else ''}{self.name}"


def parse_image_name(text: str) -> LocalImage | Reference:
    """Return the image that ``text`` names, on this machine or in a registry.

    Raises:
        InvalidReferenceError: it breaks the grammar.
    """
    transport, colon, rest = text.partition(":")
    if transport == DOCKER_DAEMON and colon:
        Reference.parse(rest)
        return LocalImage(DOCKER_DAEMON, Path(), rest)
    if not colon or transport not in {OCI, OCI_ARCHIVE, DOCKER_ARCHIVE}:
        return Reference.parse(text.removeprefix(_REGISTRY))
    path, _, name = rest.partition(":")
    if not path:
        raise InvalidReferenceError(f"{text!r} names no path; expected {transport}:PATH or {transport}:PATH:NAME")
    return LocalImage(transport, Path(path), name)
