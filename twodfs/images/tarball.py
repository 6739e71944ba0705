"""The tar archive of an image, planned before a byte of it is written: every part's place is known. Pure.

Both formats are an OCI layout. The one for ``docker load`` has a ``manifest.json`` more (Docker Image
Specification v1.2). The same image gives the same bytes.
"""

from __future__ import annotations

import tarfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final

import orjson

from twodfs.oci.digest import Digest
from twodfs.oci.documents import OCI_INDEX, Descriptor, Document, Json, Manifest

_LAYOUT: Final = b'{"imageLayoutVersion":"1.0.0"}'
_BLOCK: Final = 512
_RECORD: Final = 20 * _BLOCK


@dataclass(frozen=True, slots=True)
class ArchiveText:
    """Bytes at hand, and where in the archive they go."""

    at: int
    content: bytes


@dataclass(frozen=True, slots=True)
class ArchivePlace:
    """Where in the archive a blob's content goes."""

    at: int
    blob: Descriptor


@dataclass(frozen=True, slots=True)
class Tarball:
    """An archive: the parts known already, the parts to fetch, and its size in bytes."""

    texts: tuple[ArchiveText, ...]
    places: tuple[ArchivePlace, ...]
    size: int

    @classmethod
    def plan(cls, texts: Iterable[tuple[str, bytes]], blobs: Iterable[Descriptor]) -> Tarball:
        """Return the plan of an archive with ``texts`` by their names, and then ``blobs``."""
        at = 0
        written, places = [], []
        for name, content in texts:
            head = _header(name, len(content))
            written.append(ArchiveText(at, head + content))
            at += len(head) + _padded(len(content), _BLOCK)
        for blob in blobs:
            head = _header(blob_path(blob.digest), blob.size)
            written.append(ArchiveText(at, head))
            places.append(ArchivePlace(at + len(head), blob))
            at += len(head) + _padded(blob.size, _BLOCK)
        # Two blocks of zeros end an archive (POSIX pax, "Blocking").
        return cls(tuple(written), tuple(places), _padded(at + 2 * _BLOCK, _RECORD))


def layout_texts(entry: Json, manifests: Iterable[Document]) -> Iterator[tuple[str, bytes]]:
    """Yield the files of an OCI layout whose one image is ``entry``."""
    index: Json = {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [entry]}
    yield "oci-layout", _LAYOUT
    yield "index.json", orjson.dumps(index)
    for one in manifests:
        yield blob_path(one.digest), one.body


def docker_table(manifest: Manifest, name: str | None) -> tuple[str, bytes]:
    """Return the file that tells ``docker load`` which of the blobs make up an image."""
    entry: Json = {
        "Config": blob_path(manifest.config.digest),
        "RepoTags": [name] if name else None,
        "Layers": [blob_path(layer.digest) for layer in manifest.layers],
    }
    return "manifest.json", orjson.dumps([entry])


def blob_path(digest: Digest) -> str:
    """Return where in a layout the blob of ``digest`` lies."""
    return f"blobs/{digest.replace(':', '/')}"


def _header(name: str, size: int) -> bytes:
    info = tarfile.TarInfo(name)
    info.size = size
    return info.tobuf(tarfile.PAX_FORMAT)


def _padded(size: int, unit: int) -> int:
    return -(-size // unit) * unit
