"""Whole images: built from files, pushed to a registry, and what an engine must unpack from them."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypedDict, Unpack
from urllib.parse import urlsplit

from tests.lab import documents
from tests.lab.documents import DOCKER, OCI, Cell, FieldStyle, MediaTypes
from tests.lab.layers import Blob, Compression, Files, Layer, tar_layer
from tests.lab.programs import program
from tests.lab.registry_client import RegistryClient
from tests.lab.rootfs import apply_layers

Kind = Literal["oci-index", "oci-manifest", "docker-manifest", "docker-list"]
Rectangle = tuple[int, int, int, int]
"""First row, first column, last row, last column, inclusive: as a partition tag counts."""


class ImageOptions(TypedDict, total=False):
    """How an image is built; the defaults are in `_Plan`."""

    kind: Kind
    base: Files | Sequence[Files]
    """One layer or several, shared by all platforms."""
    platforms: Sequence[str]
    platform_files: Mapping[str, Files]
    """One more base layer for each platform named."""
    base_compression: Compression
    allotment_compression: Compression
    field_style: FieldStyle
    field_position: int | None
    """Where the field stands among the layers; None: last."""
    attestations: bool
    anchor: bool
    config_more: Mapping[str, Any]
    manifest_more: Mapping[str, Any]
    index_more: Mapping[str, Any]
    """Merged over the documents as built."""


@dataclass(frozen=True, slots=True)
class PlatformImage:
    """The manifest of one platform, and what it is made of."""

    platform: str
    manifest: Blob
    config: Blob
    base: tuple[Layer, ...]


@dataclass(frozen=True, slots=True)
class Image:
    """An image that is nowhere yet."""

    top: Blob
    platforms: tuple[PlatformImage, ...]
    cells: Mapping[Cell, Files]
    allotments: Mapping[Cell, Layer]
    field_blob: Blob | None
    field_position: int | None
    blobs: tuple[Blob, ...] = field(repr=False)
    """Everything below the manifests."""
    manifests: tuple[Blob, ...] = field(repr=False)
    """In the order in which a registry accepts them, the top one last."""

    @property
    def digest(self) -> str:
        """Of the top manifest, the one that is tagged."""
        return self.top.digest

    @property
    def documents(self) -> dict[str, bytes]:
        """Every manifest, config and field: bytes by digest."""
        made = [*self.manifests, *(one.config for one in self.platforms)]
        return {one.digest: one.content for one in (*made, *((self.field_blob,) if self.field_blob else ()))}

    def select(self, *rectangles: Rectangle) -> list[Cell]:
        """Return the cells that a partition of these rectangles has: row-major, each once."""
        return sorted(
            (row, column)
            for row, column in self.allotments
            if any(x1 <= row <= x2 and y1 <= column <= y2 for x1, y1, x2, y2 in rectangles)
        )

    def platform(self, platform: str | None = None) -> PlatformImage:
        """Return one platform's part; the first where none is named."""
        return next(one for one in self.platforms if platform in (None, one.platform))

    def layers(self, cells: Iterable[Cell] = (), platform: str | None = None) -> list[Layer]:
        """Return the layers of the image cut to these cells: the allotments stand where the field stood."""
        base = self.platform(platform).base
        at = len(base) if self.field_position is None else self.field_position
        chosen = [self.allotments[cell] for cell in sorted(set(cells))]
        return [*base[:at], *chosen, *base[at:]]

    def files(self, cells: Iterable[Cell] = (), platform: str | None = None) -> dict[str, bytes]:
        """Return the regular files that an engine unpacks from the image cut to these cells."""
        return apply_layers(layer.tar for layer in self.layers(cells, platform))


@dataclass(frozen=True, slots=True)
class PushedImage(Image):
    """An image in a registry."""

    registry: str
    """HOST:PORT."""
    repository: str
    tag: str

    def reference(self, address: str | None = None, tag: str | None = None) -> str:
        """Return what to pull: here as pushed, through another address, under a partition's tag."""
        return f"{address or self.registry}/{self.repository}:{tag or self.tag}"


def busybox_base() -> dict[str, bytes]:
    """Return a base that can run: `/bin/busybox`, and the same program as `/bin/sh`."""
    content = Path(program("busybox")).read_bytes()
    return {"bin/busybox": content, "bin/sh": content}


def push_field_image(
    registry_url: str,
    repository: str,
    tag: str,
    *,
    cells: Mapping[Cell, Files],
    credentials: tuple[str, str] | None = None,
    **options: Unpack[ImageOptions],
) -> PushedImage:
    """Build a 2DFS image and push it under a tag; the options are those of `build_image`."""
    return push(build_image(cells, **options), registry_url, repository, tag, credentials)


def push_image(
    registry_url: str,
    repository: str,
    tag: str,
    *,
    credentials: tuple[str, str] | None = None,
    **options: Unpack[ImageOptions],
) -> PushedImage:
    """Build an ordinary image, without a field, and push it under a tag."""
    return push(build_image(None, **options), registry_url, repository, tag, credentials)


def push(
    image: Image, registry_url: str, repository: str, tag: str, credentials: tuple[str, str] | None = None
) -> PushedImage:
    """Push everything an image has: the blobs first, then the manifests by digest, the top one by its tag."""
    with RegistryClient(registry_url, credentials) as client:
        for blob in image.blobs:
            client.push_blob(repository, blob)
        for manifest in image.manifests[:-1]:
            client.push_manifest(repository, manifest.digest, manifest)
        client.push_manifest(repository, tag, image.top)
    return PushedImage(
        top=image.top,
        platforms=image.platforms,
        cells=image.cells,
        allotments=image.allotments,
        field_blob=image.field_blob,
        field_position=image.field_position,
        blobs=image.blobs,
        manifests=image.manifests,
        registry=urlsplit(registry_url).netloc,
        repository=repository,
        tag=tag,
    )


def build_image(cells: Mapping[Cell, Files] | None, **options: Unpack[ImageOptions]) -> Image:
    """Build an image in memory; with `cells` None it has no field."""
    return _Plan(cells=cells, **options).image()


@dataclass(frozen=True, slots=True, kw_only=True)
class _Plan:
    cells: Mapping[Cell, Files] | None
    kind: Kind = "oci-index"
    base: Files | Sequence[Files] = field(default_factory=lambda: {"base.txt": b"base"})
    platforms: Sequence[str] = ("linux/amd64",)
    platform_files: Mapping[str, Files] = field(default_factory=dict)
    base_compression: Compression = "gzip"
    allotment_compression: Compression = "gzip"
    field_style: FieldStyle = field(default_factory=FieldStyle)
    field_position: int | None = None
    attestations: bool = False
    anchor: bool = False
    config_more: Mapping[str, Any] = field(default_factory=dict)
    manifest_more: Mapping[str, Any] = field(default_factory=dict)
    index_more: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.kind != "oci-index" and (self.attestations or self.anchor):
            raise ValueError(f"attestations and the anchor are entries of an oci-index, not of {self.kind}")
        if self.kind.endswith("manifest") and len(self.platforms) != 1:
            raise ValueError(f"{self.kind} has one platform, not {len(self.platforms)}")

    @property
    def types(self) -> MediaTypes:
        return OCI if self.kind.startswith("oci") else DOCKER

    def image(self) -> Image:
        allotments = self.build_allotments()
        made = None if self.cells is None else documents.field_layer(allotments, self.field_style)
        shared = self.build_base()
        platforms = tuple(self.build_platform(platform, shared, made) for platform in self.platforms)
        images = [one.manifest for one in platforms]
        extras, entries = self.build_extras(images, allotments)
        manifests = [*images, *(blobs[-1] for blobs in extras)]
        if not self.kind.endswith("manifest"):
            manifests.append(documents.index(self.types, entries, self.index_more))
        below = [
            *(layer.blob for one in platforms for layer in one.base),
            *(one.config for one in platforms),
            *(layer.blob for layer in allotments.values()),
            *(blob for blobs in extras for blob in blobs[:-1]),
            *([made] if made else []),
        ]
        return Image(
            top=manifests[-1],
            platforms=platforms,
            cells=self.cells or {},
            allotments=allotments,
            field_blob=made,
            field_position=self.field_position,
            blobs=tuple({blob.digest: blob for blob in below}.values()),
            manifests=tuple(manifests),
        )

    def build_allotments(self) -> dict[Cell, Layer]:
        # A field's blob is the same in an OCI and in a Docker image, and so are the types written in it.
        media_type = OCI.layer_type(self.allotment_compression)
        return {
            cell: tar_layer(files, self.allotment_compression, media_type) for cell, files in (self.cells or {}).items()
        }

    def build_base(self) -> list[Layer]:
        layers = [self.base] if isinstance(self.base, Mapping) else self.base
        return [self.build_base_layer(files) for files in layers]

    def build_base_layer(self, files: Files) -> Layer:
        return tar_layer(files, self.base_compression, self.types.layer_type(self.base_compression))

    def build_platform(self, platform: str, shared: Sequence[Layer], made: Blob | None) -> PlatformImage:
        own = self.platform_files.get(platform)
        base = (*shared, *([self.build_base_layer(own)] if own else []))
        config = documents.config(self.types, platform, [one.diff_id for one in base], self.config_more)
        layers = [one.blob for one in base]
        if made:
            layers.insert(len(layers) if self.field_position is None else self.field_position, made)
        manifest = documents.manifest(self.types, config, layers, self.manifest_more)
        return PlatformImage(platform=platform, manifest=manifest, config=config, base=base)

    def build_extras(
        self, images: Sequence[Blob], allotments: Mapping[Cell, Layer]
    ) -> tuple[list[list[Blob]], list[documents.Json]]:
        """Return what stands in the index beside the images, and all of the index's entries."""
        extras = [documents.attestation(image) for image in images] if self.attestations else []
        if self.anchor:
            extras.append(documents.anchor([allotments[cell].blob for cell in sorted(allotments)]))
        entries = [
            image.descriptor(platform=documents.platform_object(platform))
            for image, platform in zip(images, self.platforms, strict=True)
        ]
        return [blobs for blobs, _ in extras], entries + [entry for _, entry in extras]
