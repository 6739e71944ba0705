"""The documents of an image: composed of a base and allotments, and put into the store."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

from twodfs.build.built import Built
from twodfs.build.kinds import of_kind
from twodfs.choices import Anchor, MediaTypes
from twodfs.field.allotment import Allotment
from twodfs.field.partition import Selection
from twodfs.flatten.compose import Base, compose
from twodfs.layers.compression import Packing
from twodfs.layers.directories import known_directories
from twodfs.oci.digest import Digest
from twodfs.oci.documents import Descriptor
from twodfs.oci.image_config import MAX_CONFIG_BYTES, ImageConfig
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

    def directories(self) -> dict[str, str]:
        """Return the directories that nothing else may take the place of, with a phrase for each that says why."""
        return known_directories(list(self.configs.values()))

    def compose_image(
        self, allotments: tuple[Allotment, ...], anchor: Anchor, partitions: Mapping[str, Selection], store: ImageStore
    ) -> Built:
        """Return the image of the base and ``allotments``, its documents in ``store``.

        Raises:
            FormatError: a config of the base has more history entries than layers.
        """
        configs = None if self.is_original else self.configs
        composed = compose(self.base, allotments, anchor, partitions=partitions, configs=configs)
        new = frozenset(one.digest for one in composed.documents if store.size(one.digest) is None)
        for document in composed.documents:
            store.put(document.body)
        images = self.base.images
        return Built(
            composed.root,
            composed.field,
            allotments,
            platforms=tuple(image.platform for image in images),
            base_layers=max(len(image.manifest.layers) for image in images),
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
