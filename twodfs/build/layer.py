"""A deterministic layer: the same files give the same bytes, on every machine and in every release.

Entries are sorted, owned by root, dated 1970-01-01 and readable by all; only the content, the names and
whether a file is executable come from the disk (image-spec, layer.md). The tar is POSIX.1-2001 (pax), with
extended headers only where a name, a link or a size does not fit the plain ones.

Files are read, put into the tar, compressed and hashed in one pass, a piece at a time.
"""

from __future__ import annotations

import hashlib
import os
import stat
import tarfile
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Final, Protocol

from twodfs.build.recipe import WHITEOUT, Copy
from twodfs.digest import Digest
from twodfs.errors import BuildError
from twodfs.oci import OCI_LAYER, OCI_LAYER_GZIP
from twodfs.progress import Advance, silent

CHUNK: Final = 1024 * 1024
"""Bytes of a file in memory at a time."""

GZIP_LEVEL: Final = 1
"""The fastest: weights hardly shrink at any level (measured: 7 % at level 6, at a fifth of the speed)."""

_BLOCK = tarfile.BLOCKSIZE
_KINDS = {stat.S_IFREG: tarfile.REGTYPE, stat.S_IFDIR: tarfile.DIRTYPE, stat.S_IFLNK: tarfile.SYMTYPE}
_EXECUTABLE = stat.S_IXUSR | stat.S_IXGRP | stat.S_IXOTH


class Compression(StrEnum):
    """How a layer's blob holds its tar."""

    GZIP = "gzip"
    NONE = "none"


class Sink(Protocol):
    """What a layer is written to."""

    def write(self, data: bytes, /) -> object:
        """Take ``data``."""


@dataclass(frozen=True, slots=True)
class Layer:
    """A layer that was written: ``digest`` and ``size`` (bytes) of its blob, ``diff_id`` of its tar."""

    digest: Digest
    diff_id: Digest
    size: int
    media_type: str


@dataclass(frozen=True, slots=True)
class _Entry:
    """A member of the tar.

    Attributes:
        name: without slashes at either end.
        kind: of tarfile's types: a regular file, a directory or a symbolic link.
        size: bytes of a regular file's content, otherwise 0.
        mode: permission bits.
        changed: when a regular file was last written, in nanoseconds.
        source: what is read; None for a parent directory that no copy brings itself.
        path: where the build file asks for it.
    """

    name: str
    kind: bytes = tarfile.DIRTYPE
    size: int = 0
    mode: int = 0o755
    changed: int = 0
    source: Path | None = None
    path: str = ""


@dataclass(frozen=True, slots=True)
class LayerPlan:
    """The members of a layer to be written, parents before what is in them."""

    entries: tuple[_Entry, ...]

    @classmethod
    def of(cls, copies: Iterable[Copy]) -> LayerPlan:
        """Return the plan for ``copies``, having looked at every file and read none.

        Raises:
            BuildError: two copies want one name, or a file cannot be looked at or is of a kind that no
                layer holds.
        """
        return cls(tuple(_entries(copies)))

    @property
    def source_bytes(self) -> int:
        """How many bytes of files go in."""
        return sum(entry.size for entry in self.entries)

    def write(
        self, sink: Sink, *, compression: Compression = Compression.GZIP, advance: Advance = silent
    ) -> Layer:
        """Write the layer.

        Args:
            sink: takes the blob, piece by piece.
            compression: of the blob.
            advance: hears of bytes as they are read.

        Raises:
            BuildError: a file cannot be read, or has changed since the plan was made.
        """
        blob = _Blob(sink, _COMPRESSORS[compression]())
        for entry in self.entries:
            blob.write(_header(entry))
            for chunk in _content(entry):
                blob.write(chunk)
                advance(len(chunk))
            blob.write(b"\0" * (-entry.size % _BLOCK))
        blob.write(b"\0" * (2 * _BLOCK))
        return blob.finish()


class _Compressor(Protocol):
    media_type: str

    def compress(self, data: bytes, /) -> bytes: ...

    def flush(self) -> bytes: ...


class _Plain:
    media_type = OCI_LAYER

    def compress(self, data: bytes, /) -> bytes:
        return data

    def flush(self) -> bytes:
        return b""


class _Gzip:
    """RFC 1952 around zlib's deflate; zlib's own header tells the operating system it was built for."""

    media_type = OCI_LAYER_GZIP
    _HEADER = b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x04\xff"  # no time, no name, fastest, system unknown

    def __init__(self) -> None:
        self._deflate = zlib.compressobj(GZIP_LEVEL, zlib.DEFLATED, -zlib.MAX_WBITS)
        self._head = self._HEADER
        self._crc = 0
        self._size = 0

    def compress(self, data: bytes, /) -> bytes:
        self._crc = zlib.crc32(data, self._crc)
        self._size += len(data)
        head, self._head = self._head, b""
        return head + self._deflate.compress(data)

    def flush(self) -> bytes:
        trailer = self._crc.to_bytes(4, "little") + (self._size % 2**32).to_bytes(4, "little")
        return self._deflate.flush() + trailer


_COMPRESSORS: Final[dict[Compression, type[_Gzip | _Plain]]] = {
    Compression.GZIP: _Gzip,
    Compression.NONE: _Plain,
}


class _Blob:
    """Takes the tar, hashes it, compresses it, hashes that, and hands it on."""

    def __init__(self, sink: Sink, compressor: _Compressor) -> None:
        self._sink = sink
        self._compressor = compressor
        self._tar = hashlib.sha256()
        # A plain tar is its own blob: one hash is enough.
        self._blob = self._tar if compressor.media_type == OCI_LAYER else hashlib.sha256()
        self._size = 0

    def write(self, data: bytes) -> None:
        if not data:
            return
        self._tar.update(data)
        self._emit(self._compressor.compress(data))

    def finish(self) -> Layer:
        self._emit(self._compressor.flush())
        return Layer(
            digest=Digest(f"sha256:{self._blob.hexdigest()}"),
            diff_id=Digest(f"sha256:{self._tar.hexdigest()}"),
            size=self._size,
            media_type=self._compressor.media_type,
        )

    def _emit(self, data: bytes) -> None:
        if self._blob is not self._tar:
            self._blob.update(data)
        self._size += len(data)
        self._sink.write(data)


def _entries(copies: Iterable[Copy]) -> list[_Entry]:
    """Return every member, parents before what is in them."""
    entries: dict[str, _Entry] = {}
    for copy in copies:
        for entry in _walk(copy):
            other = entries.setdefault(entry.name, entry)
            if other is not entry and not other.kind == entry.kind == tarfile.DIRTYPE:
                raise BuildError(f"'/{entry.name}' comes twice: from '{other.path}' and from '{entry.path}'")
    for entry in list(entries.values()):
        for parent in _parents(entry.name):
            if entries.setdefault(parent, _Entry(parent)).kind != tarfile.DIRTYPE:
                raise BuildError(f"'/{entry.name}' in '{entry.path}' lies below '/{parent}', which is a file")
    return sorted(entries.values(), key=lambda entry: entry.name.encode("utf-8", "surrogateescape"))


def _parents(name: str) -> Iterator[str]:
    at = name.find("/")
    while at != -1:
        yield name[:at]
        at = name.find("/", at + 1)


def _walk(copy: Copy) -> Iterator[_Entry]:
    # The source itself may be a link, as model hubs' caches have them; links below it are kept.
    entry = _entry(copy.source, copy.target, copy.path, follow=True)
    if entry.kind == tarfile.DIRTYPE:
        yield from _walk_directory(entry)
    elif not copy.target:
        raise BuildError(f"{copy.source} is a file, so its destination needs a name, in '{copy.path}'")
    else:
        yield entry


def _walk_directory(directory: _Entry) -> Iterator[_Entry]:
    if directory.name:
        yield directory
    source = directory.source
    if source is None:
        return
    try:
        children = list(source.iterdir())
    except OSError as error:
        raise BuildError(f"cannot read {source}: {error.strerror}") from None
    for child in children:
        target = f"{directory.name}/{child.name}" if directory.name else child.name
        entry = _entry(child, target, directory.path, follow=False)
        if entry.kind == tarfile.DIRTYPE:
            yield from _walk_directory(entry)
        else:
            yield entry


def _entry(source: Path, target: str, path: str, *, follow: bool) -> _Entry:
    if target.rpartition("/")[2].startswith(WHITEOUT):
        raise BuildError(f"{source}: names that begin with {WHITEOUT!r} delete files in a layer")
    try:
        status = source.stat(follow_symlinks=follow)
    except OSError as error:
        raise BuildError(f"cannot read {source}: {error.strerror}, in '{path}'") from None
    kind = _KINDS.get(stat.S_IFMT(status.st_mode))
    if kind is None:
        raise BuildError(f"{source} is neither a file, a directory nor a link, in '{path}'")
    if kind != tarfile.REGTYPE:
        mode = 0o755 if kind == tarfile.DIRTYPE else 0o777
        return _Entry(target, kind, mode=mode, source=source, path=path)
    mode = 0o755 if status.st_mode & _EXECUTABLE else 0o644
    return _Entry(target, kind, status.st_size, mode, status.st_mtime_ns, source, path)


def _header(entry: _Entry) -> bytes:
    info = tarfile.TarInfo(entry.name)
    info.type, info.size, info.mode = entry.kind, entry.size, entry.mode
    if entry.kind == tarfile.SYMTYPE and entry.source is not None:
        info.linkname = str(entry.source.readlink())
    return info.tobuf(tarfile.PAX_FORMAT, "utf-8", "surrogateescape")


def _content(entry: _Entry) -> Iterator[bytes]:
    """Yield the content of a file, which must be what its header promised.

    Raises:
        BuildError: it cannot be read, or changed since it was looked at.
    """
    if entry.kind != tarfile.REGTYPE or entry.source is None:
        return
    left = entry.size
    try:
        with entry.source.open("rb", buffering=0) as file:
            while left and (chunk := file.read(min(CHUNK, left))):
                left -= len(chunk)
                yield chunk
            status = os.fstat(file.fileno())
    except OSError as error:
        raise BuildError(f"cannot read {entry.source}: {error.strerror}, in '{entry.path}'") from None
    if left or (status.st_size, status.st_mtime_ns) != (entry.size, entry.changed):
        raise BuildError(f"{entry.source} changed while it was read; build again when nothing writes to it")
