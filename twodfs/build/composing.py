"""The documents of an image: composed of a base and allotments, and put into the store."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Self

from twodfs.build.built import Built
from twodfs.build.fields import FieldGroups
from twodfs.build.kinds import of_kind
from twodfs.choices import Anchor, MediaTypes
from twodfs.field.allotment import Allotment
from twodfs.flatten.compose import Base, FieldContent, compose
from twodfs.layers.build_file.file import BuildFile
from twodfs.layers.compression import Packing
from twodfs.layers.directories import known_directories
from twodfs.oci.digest import Digest
from twodfs.oci.documents import Descriptor
from twodfs.oci.image_config import MAX_CONFIG_BYTES, ImageConfig
from twodfs.oci.platforms import Platform
from twodfs.storage.store import ImageStore


@dataclass(frozen=True, slots=True)
class PreparedBase:
    """A base that a field can be put on.

    Attributes:
        base: with the media types of the new image.
        configs: of its images, by digest.
        is_original: whether the image is to be read by the original registry.
    """

    base: Base
    configs: Mapping[Digest, ImageConfig]
    is_original: bool

    @classmethod
    def of(cls, base: Base, kind: MediaTypes | None, packing: Packing, store: ImageStore) -> Self:
        """Return ``base``, whose configs are in ``store``, prepared; ``kind`` as for ``kinds.of_kind``.

        Raises:
            BuildFileError: it does not go with ``kind`` and ``packing``.
        """
        changed = of_kind(base, kind, packing)
        digests = {image.manifest.config.digest for image in changed.images}
        configs = {one: ImageConfig.parse(store.read(one, limit=MAX_CONFIG_BYTES)) for one in digests}
        return cls(changed, configs, packing.gzip_only)

    @property
    def platforms(self) -> tuple[Platform, ...]:
        """Those of its images."""
        return tuple(image.platform for image in self.base.images)

    def directories(self, *, workdir: str | None) -> dict[str, str]:
        """Return the directories that nothing else may take the place of, with a phrase for each that says why.

        ``workdir`` is the one that the new image gets.
        """
        return known_directories(list(self.configs.values()), workdir=workdir)

    def compose_image(
        self,
        file: BuildFile,
        fields: FieldGroups,
        allotments: Mapping[int, Allotment],
        anchor: Anchor,
        store: ImageStore,
    ) -> Built:
        """Return the image of the base and ``allotments``, its documents in ``store``.

        Args:
            file: what is said of the image.
            fields: which allotments each image has.
            allotments: by the places of their cells in ``file``.
            anchor: whether the index names them.
            store: takes the documents.

        Raises:
            FormatError: a config of the base has more history entries than layers, or malformed settings.
        """
        composed = compose(
            self.base,
            [_content(file, group, allotments) for group in fields.groups],
            anchor,
            of_image=fields.of_image,
            partitions=file.partitions,
            settings=file.settings,
            configs=None if self.is_original else self.configs,
        )
        new = frozenset(one.digest for one in composed.documents if store.size(one.digest) is None)
        for document in composed.documents:
            store.put(document.body)
        return Built(
            composed.root,
            composed.fields,
            tuple(allotments.values()),
            platforms=self.platforms,
            base_layers=max(len(image.manifest.layers) for image in self.base.images),
            documents=composed.documents,
            base_blobs=self._blobs(),
            new=new,
        )

    def _blobs(self) -> tuple[Descriptor, ...]:
        """Return those that the new image names."""
        manifests = [image.manifest for image in self.base.images]
        configs = [one.config for one in manifests] if self.is_original else []
        layers = (layer for one in manifests for layer in one.layers)
        return tuple({one.digest: one for one in (*configs, *layers)}.values())


def _content(file: BuildFile, group: Sequence[int], allotments: Mapping[int, Allotment]) -> FieldContent:
    """Return the content of the field that has the cells ``group``."""
    cells = [file.cells[at] for at in group]
    labels = {(cell.row, cell.col): cell.label for cell in cells if cell.label}
    return FieldContent([allotments[at] for at in group], replace(file.labels, cells=labels))
