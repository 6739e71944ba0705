"""Descriptors, manifests and indexes: OCI image-spec v1.1 and Docker's schema 2.

A parsed document keeps the JSON it came from: unknown members must survive when the document is written
again (image-spec, "Extensibility": implementations must ignore unknown properties).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, TypeVar

import orjson

from twodfs.errors import DigestError, FormatError, UnsupportedTypeError, within
from twodfs.oci.digest import Digest, digest_of, parse_digest
from twodfs.oci.spelling import check_descriptor_keys, check_top_keys

OCI_INDEX: Final = "application/vnd.oci.image.index.v1+json"
OCI_MANIFEST: Final = "application/vnd.oci.image.manifest.v1+json"
OCI_CONFIG: Final = "application/vnd.oci.image.config.v1+json"
OCI_LAYER: Final = "application/vnd.oci.image.layer.v1.tar"
OCI_LAYER_GZIP: Final = OCI_LAYER + "+gzip"
OCI_LAYER_ZSTD: Final = OCI_LAYER + "+zstd"

DOCKER_LIST: Final = "application/vnd.docker.distribution.manifest.list.v2+json"
DOCKER_MANIFEST: Final = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_CONFIG: Final = "application/vnd.docker.container.image.v1+json"
DOCKER_LAYER: Final = "application/vnd.docker.image.rootfs.diff.tar"
DOCKER_LAYER_GZIP: Final = DOCKER_LAYER + ".gzip"
DOCKER_LAYER_ZSTD: Final = DOCKER_LAYER + ".zstd"

FIELD_LAYER: Final = "application/vnd.oci.image.layer.v1.2dfs.field"

MAX_MANIFEST_BYTES: Final = 4 * 1024 * 1024
"""The size that a registry must take, and most take no more (distribution-spec, "Pushing Manifests")."""

INDEX_TYPES: Final = frozenset({OCI_INDEX, DOCKER_LIST})
MANIFEST_TYPES: Final = frozenset({OCI_MANIFEST, DOCKER_MANIFEST})
IMAGE_TYPES: Final = INDEX_TYPES | MANIFEST_TYPES
"""Types of documents that a tag can name."""
ACCEPT_IMAGES: Final = ", ".join(sorted(IMAGE_TYPES))
"""The ``Accept`` of a client that takes any of them."""
CONFIG_TYPES: Final = frozenset({OCI_CONFIG, DOCKER_CONFIG})

LARGEST_SIZE: Final = 2**63 - 1
"""Bytes of a blob, at most: descriptors have 64 bits."""
MAX_DEPTH: Final = 254
"""Levels of nesting, as many as orjson writes, so a document that is read can be written again."""
_ESCAPE: Final = re.compile(rb"\\.", re.DOTALL)

Json = dict[str, Any]
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Document:
    """A manifest, index or config as it goes over the wire: exact bytes with their type and address."""

    media_type: str
    digest: Digest
    body: bytes = field(repr=False)

    @classmethod
    def of(cls, media_type: str, content: Json) -> Document:
        """Write ``content`` as JSON (compact, keys in their order) and address it.

        Raises:
            FormatError: it cannot be written, being nested too deep.
        """
        try:
            body = orjson.dumps(content)
        except orjson.JSONEncodeError as error:
            raise FormatError(f"cannot be written as JSON: {error}") from None
        return cls(media_type, digest_of(body), body)

    @property
    def descriptor(self) -> Json:
        """The JSON of a descriptor that points at it."""
        return {"mediaType": self.media_type, "digest": self.digest, "size": len(self.body)}


@dataclass(frozen=True, slots=True)
class Descriptor:
    """A typed pointer to content (image-spec, descriptor.md). ``size`` is in bytes."""

    media_type: str
    digest: Digest
    size: int
    raw: Mapping[str, Any] = field(repr=False, compare=False)

    @classmethod
    def from_dict(cls, raw: object) -> Descriptor:
        """Return the descriptor in ``raw``.

        Raises:
            FormatError: a required property is absent or of another type, or a known one spelled otherwise.
        """
        members = expect(raw, dict, "")
        check_descriptor_keys(members)
        size = check_size(expect(members.get("size"), int, "size"), "size")
        media_type = expect(members.get("mediaType"), str, "mediaType")
        return cls(media_type, digest_in(members.get("digest"), "digest"), size, members)

    @property
    def platform(self) -> Mapping[str, Any]:
        """The ``platform`` of an index entry; empty when it has none."""
        platform = self.raw.get("platform")
        return platform if isinstance(platform, dict) else {}

    def pointing_at(self, document: Document) -> Json:
        """Return this descriptor's JSON, aimed at ``document``; all other properties stay.

        ``data`` embeds the content itself (descriptor.md, "Embedded Content"), so it goes.
        """
        kept = {key: value for key, value in self.raw.items() if key not in ("data", "urls")}
        return kept | document.descriptor


@dataclass(frozen=True, slots=True)
class Manifest:
    """An image manifest, OCI or Docker schema 2."""

    media_type: str
    config: Descriptor
    layers: tuple[Descriptor, ...]
    raw: Mapping[str, Any] = field(repr=False)

    @property
    def is_docker(self) -> bool:
        """Whether layers need Docker's media types."""
        return self.media_type == DOCKER_MANIFEST

    @property
    def is_image(self) -> bool:
        """Whether it describes a file system; artifacts, attestations and anchors do not."""
        return "artifactType" not in self.raw and self.config.media_type in CONFIG_TYPES

    def field_positions(self) -> list[int]:
        """Return where among ``layers`` the 2DFS fields stand."""
        return [at for at, layer in enumerate(self.layers) if layer.media_type == FIELD_LAYER]


@dataclass(frozen=True, slots=True)
class Index:
    """An image index or Docker manifest list."""

    media_type: str
    manifests: tuple[Descriptor, ...]
    raw: Mapping[str, Any] = field(repr=False)

    def image_entries(self) -> Iterable[tuple[int, Descriptor]]:
        """Yield position and descriptor of each entry that may be an image.

        Left out without a look at the manifest: entries of another type, attestations and the allotment
        anchor (artifacts, platform ``unknown/unknown``).
        """
        for at, entry in enumerate(self.manifests):
            platform = entry.platform
            unknown = "unknown" in (platform.get("os"), platform.get("architecture"))
            if entry.media_type in MANIFEST_TYPES and not unknown and "artifactType" not in entry.raw:
                yield at, entry


def parse_manifest(body: bytes, media_type: str) -> Manifest | Index:
    """Return the manifest or index in ``body``.

    Args:
        body: the exact bytes.
        media_type: the type that the registry or the descriptor gave; a ``mediaType`` inside must agree.

    Raises:
        FormatError: not JSON, of an unsupported type, of two types at once, with a known key spelled
            otherwise, or malformed; with the path.
    """
    raw = parse_object(body)
    check_top_keys(raw)
    own_type = expect(raw.get("mediaType", media_type), str, "mediaType")
    if own_type != media_type and media_type in IMAGE_TYPES:
        raise FormatError(f"{own_type!r} contradicts the media type {media_type!r} it is served as", "mediaType")
    # CVE-2021-41190: a document that is both a manifest and an index is read differently by each client.
    if "manifests" in raw and ("layers" in raw or "config" in raw):
        raise FormatError("a document has either 'manifests' or 'config' and 'layers', not both")
    if own_type in INDEX_TYPES:
        entries = list_in(raw, "manifests")
        return Index(own_type, _descriptors(entries, "manifests"), raw)
    if own_type in MANIFEST_TYPES:
        with within("config"):
            config = Descriptor.from_dict(raw.get("config"))
        return Manifest(own_type, config, _descriptors(list_in(raw, "layers"), "layers"), raw)
    raise UnsupportedTypeError(f"media type {own_type[:140]!r} is neither an image manifest nor an index")


def own_media_type(body: bytes, served_as: str) -> str:
    """Return the media type that a manifest or index gives itself; ``served_as`` where it gives none.

    Raises:
        FormatError: it is no JSON object, or its media type is no text.
    """
    return expect(parse_object(body).get("mediaType", served_as), str, "mediaType")


def annotation_in(raw: Mapping[str, Any], key: str) -> str | None:
    """Return the annotation ``key`` of a document or descriptor; None where it has none that is a text."""
    annotations = raw.get("annotations")
    value = annotations.get(key) if isinstance(annotations, dict) else None
    return value if isinstance(value, str) else None


def parse_object(body: bytes | memoryview) -> Json:
    """Return the JSON object in ``body``.

    Raises:
        FormatError: it is not an object, or not JSON as ``parse_json`` takes it.
    """
    return expect(parse_json(body), dict, "")


def parse_json(text: bytes | memoryview) -> Any:
    """Return the JSON value in ``text``.

    A key that stands twice in an object is refused (RFC 8259, section 4): parsers differ in which of the two
    they take, so a document could be one thing to us and another to the client.

    Raises:
        FormatError: it is not JSON, nested too deep, or has a key twice.
    """
    try:
        raw = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise FormatError(f"not JSON: {error}") from None
    try:
        kept = orjson.dumps(raw)
    except orjson.JSONEncodeError:
        raise FormatError(f"nested deeper than {MAX_DEPTH} levels") from None
    # A key that was dropped took its quotes along. The output of programs comes back as it was, and need not be
    # counted, which costs half as much as the parsing.
    if kept != text and _quotes(kept) != _quotes(bytes(text)):
        raise FormatError("an object has the same key twice; each key may stand once")
    return raw


def _quotes(text: bytes) -> int:
    """Count the quotes that begin or end a string."""
    return (_ESCAPE.sub(b"", text) if b"\\" in text else text).count(b'"')


def expect(value: object, kind: type[T], path: str) -> T:
    """Return ``value``, which must be a ``kind`` (a boolean is no integer).

    Raises:
        FormatError: it is something else, or absent.
    """
    if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
        names = {dict: "an object", list: "an array", str: "a string", int: "an integer"}
        found = "nothing" if value is None else type(value).__name__
        raise FormatError(f"expected {names[kind]}, found {found}", path)
    return value


def check_size(size: int, path: str) -> int:
    """Return ``size``, a number of bytes that fits into the 64 bits descriptors have.

    Raises:
        FormatError: it does not.
    """
    if not 0 <= size <= LARGEST_SIZE:
        raise FormatError(f"size {size} is outside 0..{LARGEST_SIZE}", path)
    return size


def list_in(raw: Mapping[str, Any], key: str) -> list[Any]:
    """Return the array under ``key``; absent and ``null`` (how Go writes a nil slice) are empty."""
    value = raw.get(key)
    return [] if value is None else expect(value, list, key)


def _descriptors(entries: list[Any], key: str) -> tuple[Descriptor, ...]:
    found = []
    for at, entry in enumerate(entries):
        with within(f"{key}[{at}]"):
            found.append(Descriptor.from_dict(entry))
    return tuple(found)


def digest_in(value: object, path: str) -> Digest:
    """Return the digest that ``value`` writes.

    Raises:
        FormatError: it writes none.
    """
    text = expect(value, str, path)
    try:
        return parse_digest(text)
    except DigestError as error:
        raise FormatError(str(error), path) from None
