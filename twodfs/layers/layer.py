"""A deterministic layer: the same files give the same bytes, on every machine and in every release.

The tar is POSIX.1-2001 (pax), with extended headers only where a name, a link or a size does not fit the
plain ones. Files are read, put into the tar, compressed and hashed in one pass, a piece at a time.
"""

from __future__ import annotations

import hashlib
import os
import tarfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from io import FileIO
from typing import Final, Protocol

from twodfs.errors import BuildError, FormatError
from twodfs.files import Stamp, open_file
from twodfs.layers.build_file.cells import Copy
from twodfs.layers.compression import Compression, Compressor, Packing
from twodfs.layers.content import changed
from twodfs.layers.members import Member, find_members
from twodfs.oci.digest import Digest
from twodfs.oci.documents import OCI_LAYER
from twodfs.progress import Advance, silent

CHUNK: Final = 256 * 1024
"""Bytes of a file in memory at a time: as much as stays in a core's cache between reading, hashing and writing."""

_SAMPLES = 8
_SAMPLE = 16 * 1024

_BLOCK = tarfile.BLOCKSIZE


class Sink(Protocol):
    """The file that a layer is written to."""

    def write(self, data: bytes | memoryview, /) -> object:
        """Take ``data``, which the caller will use for something else."""


class NullSink:
    """A sink that keeps nothing, for a layer's digests alone."""

    def write(self, data: bytes | memoryview, /) -> None:
        """Take ``data``."""


@dataclass(frozen=True, slots=True)
class Layer:
    """A layer that was written: ``digest`` and ``size`` (bytes) of its blob, ``diff_id`` of its tar."""

    digest: Digest
    diff_id: Digest
    size: int
    media_type: str


@dataclass(frozen=True, slots=True)
class LayerPlan:
    """The content of a layer, planned.

    Attributes:
        copies: those of the build file.
        members: the files that they bring, parents before children; and the directories that lead to them.
    """

    copies: tuple[Copy, ...]
    members: tuple[Member, ...]

    @classmethod
    def of(cls, copies: Iterable[Copy]) -> LayerPlan:
        """Return the plan for ``copies``, having looked at every file and read none.

        Raises:
            BuildError: see ``find_members``.
            FormatError: see there.
        """
        asked = tuple(copies)
        return cls(asked, find_members(asked))

    @property
    def written(self) -> tuple[Member, ...]:
        """The members that have an entry in the layer."""
        return tuple(member for member in self.members if member.is_written)

    @property
    def source_bytes(self) -> int:
        """How many bytes of files go in."""
        return sum(member.size for member in self.members)

    def write(self, sink: Sink, packing: Packing, advance: Advance = silent) -> Layer:
        """Write the layer.

        Args:
            sink: takes the blob, piece by piece.
            packing: how the blob is compressed.
            advance: called with the number of bytes as they are read.

        Raises:
            BuildError: a file cannot be read, or has changed since the plan was made.
        """
        blob = _Blob(sink, packing.compressor(self.sample()))
        buffer = memoryview(bytearray(min(CHUNK, max(self.source_bytes, 1))))
        for member in self.written:
            blob.write(_header(member))
            for chunk in _content(member, buffer):
                blob.write(chunk)
                advance(len(chunk))
            blob.write(b"\0" * (-member.size % _BLOCK))
        blob.write(b"\0" * (2 * _BLOCK))
        self._look_again()
        return blob.finish()

    def diff_id(self, advance: Advance = silent) -> Digest:
        """Return the digest that the layer's tar would have.

        Raises:
            BuildError: as for ``write``.
        """
        return self.write(NullSink(), _UNPACKED, advance).diff_id

    def _look_again(self) -> None:
        """Raise a BuildError for the first source that has changed, appeared or disappeared."""
        try:
            again = find_members(self.copies)
        except FormatError as error:
            raise BuildError(
                f"files changed while they were read: {error}; build again when nothing writes to them"
            ) from None
        before, after = (
            {member.name: member for member in members if member.source} for members in (self.members, again)
        )
        for name, member in (before | after).items():
            if name not in before or name not in after or not after[name].is_unchanged(before[name]):
                raise changed(member.source)

    def sample(self) -> Iterator[bytes]:
        """Yield a few pieces of the tar: of its headers, and spread evenly over the files' content.

        The same for the same content.

        Raises:
            BuildError: a file cannot be read.
        """
        total = self.source_bytes
        yield bytes(min(len(self.written) * _BLOCK, _SAMPLE))  # headers and padding are mostly zeros
        wanted = range(0, total, max(_SAMPLE, -(-total // _SAMPLES)))
        begin = 0
        for member in self.members:
            offsets = [at - begin for at in wanted if begin <= at < begin + member.size]
            begin += member.size
            if offsets:
                yield from _pieces(member, offsets)


_UNPACKED = Packing(Compression.NONE)


class _Blob:
    """Takes the tar, hashes it, compresses it, hashes that, and hands it on."""

    def __init__(self, sink: Sink, compressor: Compressor) -> None:
        self._sink = sink
        self._compressor = compressor
        self._tar = hashlib.sha256()
        # A plain tar is its own blob: one hash is enough.
        self._blob = self._tar if compressor.media_type == OCI_LAYER else hashlib.sha256()
        self._size = 0

    def write(self, data: bytes | memoryview) -> None:
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

    def _emit(self, data: bytes | memoryview) -> None:
        if self._blob is not self._tar:
            self._blob.update(data)
        self._size += len(data)
        self._sink.write(data)


def _header(member: Member) -> bytes:
    info = tarfile.TarInfo(member.name)
    info.type = member.kind
    info.size = member.size
    info.mode = member.mode
    info.uid, info.gid = member.uid, member.gid
    info.linkname = member.link
    return info.tobuf(tarfile.PAX_FORMAT, "utf-8", "surrogateescape")


def _opened(member: Member) -> FileIO:
    if member.source is None:
        raise TypeError("a member with content has a source")
    return open_file(member.source)


def _pieces(member: Member, offsets: Iterable[int]) -> Iterator[bytes]:
    if member.content is not None:
        yield from (member.content.excerpt(offset, _SAMPLE) for offset in offsets)
        return
    try:
        with _opened(member) as file:
            for offset in offsets:
                file.seek(offset)
                yield file.read(_SAMPLE)
    except OSError as error:
        raise _unreadable(member, error) from None


def _content(member: Member, buffer: memoryview) -> Iterator[memoryview]:
    """Yield the content of a file, which must have the size in its header; each piece until the next.

    Raises:
        BuildError: it cannot be read, or changed since it was looked at.
    """
    if member.kind != tarfile.REGTYPE:
        return
    if member.content is not None:
        yield from member.content.read(buffer)
        return
    left = member.size
    try:
        with _opened(member) as file:
            while left and (size := file.readinto(buffer[:left])):
                left -= size
                yield buffer[:size]
            has_more = not left and bool(file.read(1))
            stamp = Stamp.of(os.fstat(file.fileno()))
    except OSError as error:
        raise _unreadable(member, error) from None
    if member.stamp is None or not stamp.is_unchanged(member.stamp):
        raise changed(member.source)
    if left or has_more:
        raise BuildError(
            f"{member.source} announces {member.size} bytes and holds {'more' if has_more else 'fewer'}, as "
            f"the files of /proc and /sys do; copy it into a file and take that, in '{member.path}'"
        )


def _unreadable(member: Member, error: OSError) -> BuildError:
    return BuildError(f"cannot read {member.source}: {error.strerror}, in '{member.path}'")
