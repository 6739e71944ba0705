"""The files in a layer, read from the headers of its tar.

Of a plain tar only the headers are read, so of a file of a gigabyte some kilobytes cross the line. A compressed one
has to be inflated from its start, and is only up to a bound. The kind of compression is seen from the bytes: the
original builder calls everything gzip.
"""

from __future__ import annotations

import gzip
import tarfile
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from functools import partial
from http import HTTPStatus
from typing import BinaryIO, Final, cast

from twodfs.concurrency import concurrently, scope
from twodfs.errors import BuildError, FormatError, RegistryError
from twodfs.field.allotment import Allotment
from twodfs.images.inflation import ALWAYS, GZIP_MAGIC
from twodfs.images.source import TRANSFERS, StoredImage
from twodfs.oci.digest import Digest
from twodfs.oci.documents import Json
from twodfs.viewing.parts import BlobFile, EnoughRead, InflatedFile, Inflating, PartSource

MOST_CELLS: Final = 2000
"""Cells whose files are listed at a time: each is a question to the registry at least."""
MOST_FILES: Final = 10_000
"""Files of a layer that are listed."""
MOST_FROM_REGISTRY: Final = 8 * 1024 * 1024
"""Bytes of a layer that are read from a registry for it; headers of plain tars are a small part of that."""
MOST_FROM_STORE: Final = 1024 * 1024 * 1024
_MOST_INFLATED: Final = ALWAYS
_ZSTD_MAGIC: Final = b"\x28\xb5\x2f\xfd"
_ZSTD_STEP: Final = 128 * 1024
_WINDOW: Final = 2**27
"""The window that zstd's own program takes without being asked; larger ones take as much memory."""


class FileKind(StrEnum):
    """What an entry of a layer is; directories are not listed."""

    FILE = "file"
    LINK = "link"
    HARD_LINK = "hardlink"
    OTHER = "other"


@dataclass(frozen=True, slots=True)
class LayerFile:
    """An entry of a layer.

    Attributes:
        path: where it goes in the image, with a leading slash.
        size: its bytes.
        kind: of the entry.
        target: of a link.
    """

    path: str
    size: int
    kind: FileKind = FileKind.FILE
    target: str = ""

    def to_dict(self) -> Json:
        """Return it as JSON."""
        target = {"target": self.target} if self.target else {}
        return {"path": self.path, "size": self.size, "kind": self.kind, **target}


@dataclass(frozen=True, slots=True)
class LayerFiles:
    """The files of a layer, in its order; ``missing`` says why there may be more, empty where they are all."""

    files: tuple[LayerFile, ...]
    missing: str = ""

    def to_dict(self) -> Json:
        """Return them as JSON."""
        missing = {"filesMissing": self.missing} if self.missing else {}
        return {"files": [one.to_dict() for one in self.files], **missing}


def files_of_cells(source: PartSource, cells: Iterable[Allotment]) -> dict[Digest, LayerFiles]:
    """Return the files of ``cells`` by their digests, several asked for at a time.

    Raises:
        BuildError: there are more than ``MOST_CELLS``, or the store lacks one.
        RegistryError: the registry lacks one, or does not answer.
    """
    digests = list(dict.fromkeys(one.digest for one in cells))
    if len(digests) > MOST_CELLS:
        raise BuildError(
            f"files of {len(digests)} cells are a question to the registry each, and at most {MOST_CELLS} are asked; "
            f"choose a part of them, as REF--0.0.9.9"
        )
    found = concurrently((partial(files_in, source, one) for one in digests), limit=TRANSFERS)
    return dict(zip(digests, found, strict=True))


def files_in(source: PartSource, digest: Digest) -> LayerFiles:
    """Return the files of the layer ``digest``, whose bytes are not verified.

    Raises:
        BuildError: the store lacks it.
        RegistryError: the registry lacks it, or does not answer.
    """
    most = MOST_FROM_STORE if isinstance(source, StoredImage) else MOST_FROM_REGISTRY
    blob = BlobFile(source, digest, most=most)
    found: list[LayerFile] = []
    try:
        for one in _entries(blob):
            if len(found) == MOST_FILES:
                return LayerFiles(tuple(found), f"the first {MOST_FILES} are listed")
            found.append(one)
    except EnoughRead:
        return LayerFiles(tuple(found), f"it is compressed, and read no further than {most} bytes")
    except (FormatError, tarfile.TarError, ValueError, OverflowError, EOFError, zlib.error, gzip.BadGzipFile) as error:
        return LayerFiles(tuple(found), f"it is no tar that can be read: {error}")
    except RegistryError as error:
        if error.status not in (HTTPStatus.OK, HTTPStatus.PARTIAL_CONTENT):
            raise
        return LayerFiles(tuple(found), "the registry gives no parts of blobs")
    return LayerFiles(tuple(found))


def _entries(blob: BlobFile) -> Iterator[LayerFile]:
    magic = blob.read(len(_ZSTD_MAGIC))
    blob.seek(0)
    if magic.startswith(GZIP_MAGIC):
        with gzip.GzipFile(fileobj=cast("BinaryIO", blob)) as inflating:
            yield from _listed(InflatedFile(inflating, most=_MOST_INFLATED))
    elif magic == _ZSTD_MAGIC:
        yield from _in_zstd(blob)
    elif magic:
        yield from _listed(blob)


def _in_zstd(blob: BlobFile) -> Iterator[LayerFile]:
    import zstandard  # noqa: PLC0415 - takes 10 ms, and few layers are compressed so

    try:
        with zstandard.ZstdDecompressor(max_window_size=_WINDOW).stream_reader(
            cast("BinaryIO", blob), read_size=_ZSTD_STEP, read_across_frames=True
        ) as inflating:
            yield from _listed(InflatedFile(cast("Inflating", inflating), most=_MOST_INFLATED))
    except zstandard.ZstdError as error:
        raise FormatError(str(error)) from None


def _listed(file: BlobFile | InflatedFile) -> Iterator[LayerFile]:
    wanted = scope()
    with tarfile.open(fileobj=cast("BinaryIO", file), mode="r:") as archive:
        for member in archive:
            wanted.check()
            if member.size < 0:  # which would lead back to where we were
                raise FormatError(f"its member {member.name[:140]!r} has less than no bytes")
            if not member.isdir():
                yield LayerFile(_absolute(member.name), member.size, _kind(member), member.linkname)
        # tarfile takes any header that it cannot read for the end of the archive.
        file.seek(archive.offset)
        if file.read(tarfile.BLOCKSIZE).strip(b"\0"):
            raise FormatError("a header is damaged")


def _absolute(name: str) -> str:
    return "/" + "/".join(part for part in name.split("/") if part not in ("", "."))


def _kind(member: tarfile.TarInfo) -> FileKind:
    if member.isreg():
        return FileKind.FILE
    if member.issym():
        return FileKind.LINK
    return FileKind.HARD_LINK if member.islnk() else FileKind.OTHER
