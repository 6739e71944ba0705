"""The base of a build: scratch, an image on this machine, or one in a registry.

Code that reads a base or speaks to registries is imported where it is needed, which is while threads hash.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from twodfs.build.allotments import check_sources
from twodfs.build.image import BaseSource
from twodfs.cli.registries import Registries, Security
from twodfs.errors import BuildError, FormatError, TwodfsError
from twodfs.images.scratch import SCRATCH, scratch
from twodfs.images.transport import LocalImage, parse_image_name
from twodfs.layers.build_file.file import BuildFile
from twodfs.oci.platforms import Platform
from twodfs.oci.reference import Reference
from twodfs.progress import Progress
from twodfs.storage.store import ImageStore

if TYPE_CHECKING:
    from twodfs.flatten.compose import Base
    from twodfs.images.remembered import RememberedManifests


@dataclass(frozen=True, slots=True, kw_only=True)
class BaseRequest:
    """The base that is asked for.

    Attributes:
        image: None for scratch.
        platforms: which of its images; empty for all.
        security: how its registry is spoken to.
        max_inflated: what a compressed archive may inflate to, as on the command line.
    """

    image: LocalImage | Reference | None
    platforms: tuple[Platform, ...]
    security: Security
    max_inflated: str | None

    @property
    def reference(self) -> Reference | None:
        """Its place in a registry; None where it is in none."""
        return self.image if isinstance(self.image, Reference) else None

    @property
    def platforms_text(self) -> str:
        """The platforms, as one text."""
        return ",".join(map(str, self.platforms))


@dataclass(frozen=True, slots=True)
class BaseSources:
    """Where bases are brought to.

    Attributes:
        build_file: its mistakes show before a base is asked for, or why it cannot be had.
        store: takes the blobs.
        registries: the registries of the command.
        progress: listens.
    """

    build_file: BuildFile
    store: ImageStore
    registries: Registries
    progress: Progress

    def source(self, asked: BaseRequest, *, checksum: bool) -> BaseSource:
        """Return the base that is ``asked`` for; one on this machine has been read by then.

        The layers of one in a registry stay there: a push takes them from there, and so does what needs their bytes.

        Args:
            asked: which one.
            checksum: whether to hash the layers that the store has; damaged ones are forgotten.

        Raises:
            BuildFileError: the build file has a mistake.
            TwodfsError: see ``pull_base``.
        """
        match asked.image:
            case None:
                return _ScratchBase(asked, self.store)
            case Reference() as reference:
                return _RemoteBase(self, asked, reference, checksum=checksum)
            case LocalImage() as image:
                return _LocalBase(self._read(image, asked, checksum=checksum))

    def _read(self, image: LocalImage, asked: BaseRequest, *, checksum: bool) -> Base:
        from twodfs.images.inflation import Inflation  # noqa: PLC0415 - see the module's docstring
        from twodfs.images.pull import pull_base  # noqa: PLC0415
        from twodfs.sizes import parse_size  # noqa: PLC0415

        check_sources(self.build_file)
        most = None if asked.max_inflated is None else parse_size(asked.max_inflated)
        with image.open(self.store.temporary, Inflation(most)) as source:
            return pull_base(
                source,
                image.name,
                asked.platforms,
                self.store,
                self.progress,
                reference=str(image),
                checksum=checksum,
            )


def parse_base(text: str) -> LocalImage | Reference | None:
    """Return the image that ``text`` names; None for scratch.

    Raises:
        InvalidReferenceError: it breaks the grammar.
    """
    return None if text == SCRATCH else parse_image_name(text)


class _ScratchBase:
    """A base without files."""

    def __init__(self, asked: BaseRequest, store: ImageStore) -> None:
        self._asked = asked
        self._store = store

    def identity(self) -> str:
        return f"{SCRATCH} {self._asked.platforms_text}"

    def find(self) -> Base:
        return scratch(self._asked.platforms, self._store)


class _LocalBase:
    """A base that is in the store. What it was read from may be another tomorrow, so it has no identity."""

    def __init__(self, base: Base) -> None:
        self._base = base

    def identity(self) -> str:
        return ""

    def find(self) -> Base:
        return self._base


class _RemoteBase:
    """A base in a registry, which is asked for no more than it takes to know that it is the one of the last time."""

    def __init__(self, sources: BaseSources, asked: BaseRequest, reference: Reference, *, checksum: bool) -> None:
        self._sources = sources
        self._asked = asked
        self._reference = reference
        self._checksum = checksum
        self._opened: RememberedManifests | None = None

    def identity(self) -> str:
        with self._mistakes_first():
            try:
                return f"{self._source().manifest(self._reference.name).digest} {self._asked.platforms_text}"
            except FormatError as error:
                raise BuildError(f"{self._reference}: {error}") from None

    def find(self) -> Base:
        from twodfs.images.pull import pull_base  # noqa: PLC0415 - see the module's docstring

        with self._mistakes_first():
            return pull_base(
                self._source(),
                self._reference.name,
                self._asked.platforms,
                self._sources.store,
                self._sources.progress,
                reference=str(self._reference),
                checksum=self._checksum,
                layers=False,
            )

    def _source(self) -> RememberedManifests:
        if self._opened is None:
            from twodfs.images.remembered import RememberedManifests  # noqa: PLC0415 - see the module's docstring

            repository = self._sources.registries.repository(self._reference)
            self._opened = RememberedManifests(repository, self._sources.store, str(self._reference))
        return self._opened

    @contextmanager
    def _mistakes_first(self) -> Iterator[None]:
        """Tell mistakes in the build file in the place of what fails in the block."""
        try:
            yield
        except TwodfsError:
            check_sources(self._sources.build_file)
            raise
