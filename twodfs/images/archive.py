"""Files of an image on this machine: in a directory, or in a tar archive, which is read in place.

Nothing is ever unpacked: a name is looked up and its bytes are read, so no name can lead out of the archive.
A link that tries to is a sign of a malicious archive, and is refused all the same.
"""

from __future__ import annotations

import io
import os
import posixpath
import tarfile
import tempfile
from collections.abc import Iterable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final, Protocol, Self, cast

from twodfs.errors import BuildError
from twodfs.files import open_file
from twodfs.images.inflation import GZIP_MAGIC, Inflation, inflate

MAX_MEMBERS: Final = 100_000
MAX_HEADER: Final = 1024 * 1024
"""Bytes of one member's long name or extended header, which are read whole."""
_MAX_LINKS: Final = 8


class Files(Protocol):
    """Files by their names: relative, with slashes."""

    def open(self, name: str) -> BinaryIO:
        """Return the content of a regular file, to be closed; raises ``BuildError`` when there is none."""

    def has(self, name: str) -> bool:
        """Say whether there is such a file."""

    def size(self, name: str) -> int:
        """Return a file's bytes; raises ``BuildError`` when there is none."""

    def __str__(self) -> str:
        """Return the name of the place in messages."""


@dataclass(frozen=True, slots=True)
class Directory:
    """The files in a directory."""

    path: Path

    def open(self, name: str) -> BinaryIO:
        """Return the content of a file; links are followed as long as they stay in the directory."""
        try:
            return io.BufferedReader(open_file(_inside(self.path, name), follow=False))
        except OSError as error:
            raise BuildError(f"cannot read {self.path / name}: {error.strerror}") from None

    def has(self, name: str) -> bool:
        """Say whether there is such a file."""
        return (self.path / name).is_file()

    def size(self, name: str) -> int:
        """Return a file's bytes."""
        with self.open(name) as file:
            return os.fstat(file.fileno()).st_size

    def __str__(self) -> str:
        return str(self.path)


class Archive:
    """The files in a tar archive, plain or compressed with gzip; a context manager.

    A compressed one is unpacked into a temporary file first: blobs are read in no particular order.
    """

    def __init__(self, path: Path, scratch: Path, inflation: Inflation) -> None:
        """Read the names in the archive ``path``.

        Args:
            path: where it is.
            scratch: a directory for the temporary file.
            inflation: how big a compressed one may become.

        Raises:
            BuildError: it cannot be read, is no archive, inflates to too much, or has names that lead out.
        """
        self._path = path
        self._stack = ExitStack()
        try:
            self._file = _plain(path, scratch, inflation, self._stack)
            with tarfile.open(fileobj=cast("BinaryIO", _HeaderFile(self._file, path)), mode="r:") as archive:
                self._members = _members(archive, path)
        except OSError as error:
            self._stack.close()
            raise BuildError(f"cannot read {path}: {error.strerror or error}") from None
        except (tarfile.TarError, ValueError, OverflowError) as error:
            self._stack.close()
            raise BuildError(f"{path} is no tar archive: {error}") from None
        except BaseException:
            self._stack.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_failure: object) -> None:
        self._stack.close()

    def open(self, name: str) -> BinaryIO:
        """Return the content of a file; several may be read at once."""
        member = self._find(name)
        if member is None:
            raise BuildError(f"{self} has no file {name!r}")
        return io.BufferedReader(_Part(self._file.fileno(), member.offset_data, member.size))

    def has(self, name: str) -> bool:
        """Say whether there is such a file."""
        return self._find(name) is not None

    def size(self, name: str) -> int:
        """Return a file's bytes."""
        member = self._find(name)
        if member is None:
            raise BuildError(f"{self} has no file {name!r}")
        return member.size

    def __str__(self) -> str:
        return str(self._path)

    def _find(self, name: str) -> tarfile.TarInfo | None:
        """Return the regular file that ``name`` leads to: ``docker save`` links layers that repeat."""
        for _ in range(_MAX_LINKS):
            member = self._members.get(posixpath.normpath(name))
            if member is None or (member.isreg() and not member.issparse()):
                return member
            if not member.issym() and not member.islnk():
                return None
            folder = posixpath.dirname(member.name) if member.issym() else ""
            name = posixpath.join(folder, member.linkname)
        return None


class _Part(io.RawIOBase):
    """A stretch of a file, with a position of its own, so that threads do not disturb each other."""

    def __init__(self, descriptor: int, start: int, size: int) -> None:
        self._descriptor = descriptor
        self._at = start
        self._end = start + size

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]
        wanted = min(len(buffer), self._end - self._at)
        content = os.pread(self._descriptor, wanted, self._at)
        buffer[: len(content)] = content
        self._at += len(content)
        return len(content)


class _HeaderFile:
    """The archive as ``tarfile`` reads it, which takes a header's word for how long it is."""

    def __init__(self, file: BinaryIO, path: Path) -> None:
        self._file = file
        self._path = path
        self.seek = file.seek
        self.tell = file.tell

    def read(self, size: int) -> bytes:
        if not 0 <= size <= MAX_HEADER:
            raise BuildError(f"{self._path} is refused: it has a header of more than {MAX_HEADER} bytes")
        return self._file.read(size)


def _inside(directory: Path, name: str) -> Path:
    """Return where the file ``name`` of ``directory`` is, links followed as long as they stay in it.

    Raises:
        BuildError: one leads out of it.
        OSError: links go round.
    """
    root = os.path.realpath(directory)
    place = os.path.realpath(directory / name)
    if os.path.commonpath((root, place)) != root:
        raise BuildError(f"{directory / name} is refused: it is a link that leads out of {directory}")
    return Path(place)


def _plain(path: Path, scratch: Path, inflation: Inflation, stack: ExitStack) -> BinaryIO:
    """Return the archive without its compression; ``stack`` closes it."""
    file = stack.enter_context(io.BufferedReader(open_file(path)))
    if not file.peek(len(GZIP_MAGIC)).startswith(GZIP_MAGIC):
        return file
    unpacked = stack.enter_context(tempfile.TemporaryFile(dir=scratch))  # noqa: SIM115 - the stack closes it
    for piece in inflate(file, os.fstat(file.fileno()).st_size, inflation, str(path)):
        try:
            unpacked.write(piece)
        except OSError as error:
            raise BuildError(f"cannot unpack {path} into {scratch}: {error.strerror}") from None
    unpacked.seek(0)
    return cast("BinaryIO", unpacked)


def _members(archive: Iterable[tarfile.TarInfo], path: Path) -> dict[str, tarfile.TarInfo]:
    members: dict[str, tarfile.TarInfo] = {}
    for count, member in enumerate(archive, start=1):
        if count > MAX_MEMBERS:
            raise BuildError(f"{path} has more than {MAX_MEMBERS} members; is it an image?")
        if member.size < 0:  # which would lead back to where we were
            raise BuildError(f"{path} is refused: its member {member.name[:140]!r} has less than no bytes")
        name = posixpath.normpath(member.name)
        link = posixpath.join(posixpath.dirname(name), member.linkname) if member.issym() else member.linkname
        if _leads_out(name) or ((member.issym() or member.islnk()) and _leads_out(posixpath.normpath(link))):
            raise BuildError(f"{path} is refused: its member {member.name[:140]!r} leads out of the archive")
        members[name] = member
    return members


def _leads_out(name: str) -> bool:
    return name == ".." or name.startswith(("/", "../"))
