"""The base of a build, found: scratch, an image on this machine, or one in a registry.

Code that reads a base or speaks to registries is imported where it is needed, which is while threads hash.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from twodfs.build.allotments import check_sources
from twodfs.cli.registries import Registries, Security
from twodfs.errors import TwodfsError
from twodfs.flatten.compose import Base
from twodfs.images.scratch import SCRATCH, scratch
from twodfs.images.transport import LocalImage, parse_image_name
from twodfs.layers.build_file import BuildFile
from twodfs.oci.platforms import Platform
from twodfs.oci.reference import Reference
from twodfs.progress import Progress
from twodfs.storage.store import ImageStore

if TYPE_CHECKING:
    from twodfs.images.source import ImageSource


@dataclass(frozen=True, slots=True, kw_only=True)
class BaseRequest:
    """The base that is asked for.

    Attributes:
        name: as on the command line.
        platforms: which of its images; empty for all.
        security: how its registry is spoken to.
        max_inflated: bytes that a compressed archive may inflate to, as on the command line.
    """

    name: str
    platforms: tuple[Platform, ...]
    security: Security
    max_inflated: str | None


class BaseFinder:
    """Brings one base into a store."""

    def __init__(
        self, asked: BaseRequest, build_file: BuildFile, store: ImageStore, registries: Registries, progress: Progress
    ) -> None:
        """Prepare to find the base that is ``asked`` for; nothing is looked at.

        Raises:
            InvalidReferenceError: it has no proper name.
            UsageError: the options for its registry contradict each other.
        """
        self._asked = asked
        self._build_file = build_file
        self._store = store
        self._registries = registries
        self._progress = progress
        self._image = None if asked.name == SCRATCH else parse_image_name(asked.name)
        if isinstance(self._image, Reference):
            registries.secure(self._image.registry, asked.security)

    @property
    def reference(self) -> Reference | None:
        """Its place in a registry; None where it is in none."""
        return self._image if isinstance(self._image, Reference) else None

    def finder(self, *, checksum: bool, layers: bool) -> Callable[[], Base]:
        """Return a function that returns the base; one on this machine is found by now.

        Args:
            checksum: whether to hash the layers that the store has; damaged ones come again.
            layers: whether to bring the layers of one in a registry.

        Raises:
            BuildFileError: the build file has a mistake, which shows before the base is asked for.
            TwodfsError: see ``pull_base``.
        """
        match self._image:
            case Reference() as base:
                return partial(self._remote, base, checksum=checksum, layers=layers or checksum)
            case LocalImage() as image:
                found = self._local(image, checksum=checksum)
            case None:
                found = scratch(self._asked.platforms, self._store)
        return lambda: found

    def _local(self, image: LocalImage, *, checksum: bool) -> Base:
        from twodfs.build.housekeeping import parse_size  # noqa: PLC0415 - see the module's docstring
        from twodfs.images.inflation import Inflation  # noqa: PLC0415

        check_sources(self._build_file)
        most = None if self._asked.max_inflated is None else parse_size(self._asked.max_inflated)
        with image.open(self._store.temporary, Inflation(most)) as source:
            return self._pull(source, image.name, checksum=checksum, layers=True)

    def _remote(self, base: Reference, *, checksum: bool, layers: bool) -> Base:
        from twodfs.images.remembered import RememberedManifests  # noqa: PLC0415 - see the module's docstring

        if layers:  # a mistake shows before gigabytes are fetched
            check_sources(self._build_file)
        repository = self._registries.open(base.registry).repository(base.repository)
        source = RememberedManifests(repository, self._store, str(base))
        try:
            return self._pull(source, base.name, checksum=checksum, layers=layers)
        except TwodfsError:
            check_sources(self._build_file)
            raise

    def _pull(self, source: ImageSource, name: str, *, checksum: bool, layers: bool) -> Base:
        from twodfs.images.pull import pull_base  # noqa: PLC0415 - see the module's docstring

        return pull_base(
            source,
            name,
            self._asked.platforms,
            self._store,
            self._progress,
            reference=str(self._image),
            checksum=checksum,
            layers=layers,
        )
