"""Files of an image on this machine: in a directory, or in a tar archive, which is read in place.

Nothing is ever unpacked: a name is looked up and its bytes are read, so no name can lead out of the archive.
One that tries to is a sign that the archive is up to no good, and is refused all the same.
"""

from __future__ import annotations

import gzip
import io
import os
import posixpath
import shutil
import tarfile
import tempfile
import zlib
from collections.abc import Iterable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final, Protocol, Self

from twodfs.errors import BuildError

MAX_MEMBERS: Final = 1_000_000
_MAX_LINKS: Final = 8
_GZIP: Final = b"\x1f\x8b"


class Files(Protocol):
    """Files by their names: relative, with slashes."""

    def open(self, name: str) -> BinaryIO:
        """Return the content of a regular file, to be closed; raises ``BuildError`` when there is none."""

    def has(self, name: str) -> bool:
        """Say whether there is such a file."""

    def size(self, name: str) -> int:
        """Return a file's bytes; raises ``BuildError`` when there is none."""

    def __str__(self) -> str:
        """Return what people call the place."""


@dataclass(frozen=True, slots=True)
class Directory:
    """The files in a directory."""

    path: Path

    def open(self, name: str) -> BinaryIO:
        """Return the content of a file."""
        try:
            return (self.path / name).open("rb")
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

    def __init__(self, path: Path, scratch: Path) -> None:
        """Read the names in the archive ``path``; a temporary file goes into the directory ``scratch``.

        Raises:
            BuildError: it cannot be read, is no archive, or has names that lead out of it.
        """
        self._path = path
        self._stack = ExitStack()
        try:
            self._file = _plain(path, scratch, self._stack)
            with tarfile.open(fileobj=self._file, mode="r:") as archive:
                self._members = _members(archive, path)
        except OSError as error:
            self._stack.close()
            raise BuildError(f"cannot read {path}: {error.strerror or error}") from None
        except (tarfile.TarError, EOFError, zlib.error) as error:
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


def _plain(path: Path, scratch: Path, stack: ExitStack) -> BinaryIO:
    """Return the archive without its compression; ``stack`` closes it."""
    file = stack.enter_context(path.open("rb"))
    compressed = file.read(len(_GZIP)) == _GZIP
    file.seek(0)
    if not compressed:
        return file
    unpacked = stack.enter_context(tempfile.TemporaryFile(dir=scratch))  # noqa: SIM115 - the stack closes it
    with gzip.open(file) as packed:
        shutil.copyfileobj(packed, unpacked, 1024 * 1024)
    unpacked.seek(0)
    return unpacked


def _members(archive: Iterable[tarfile.TarInfo], path: Path) -> dict[str, tarfile.TarInfo]:
    members: dict[str, tarfile.TarInfo] = {}
    for member in archive:
        name = posixpath.normpath(member.name)
        link = posixpath.join(posixpath.dirname(name), member.linkname) if member.issym() else member.linkname
        if _leads_out(name) or ((member.issym() or member.islnk()) and _leads_out(posixpath.normpath(link))):
            raise BuildError(f"{path} is refused: its member {member.name[:140]!r} leads out of the archive")
        members[name] = member
        if len(members) > MAX_MEMBERS:
            raise BuildError(f"{path} has more than {MAX_MEMBERS} members; is it an image?")
    return members


def _leads_out(name: str) -> bool:
    return name == ".." or name.startswith(("/", "../"))
