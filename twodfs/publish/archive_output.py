"""An archive that was planned, written: streamed, hashed on the way, whole or not at all."""

from __future__ import annotations

import fcntl
import io
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO, cast

from twodfs.concurrency import concurrently
from twodfs.errors import BuildError, UsageError
from twodfs.images.source import CHUNK, TRANSFERS, SizedSource
from twodfs.images.tarball import ArchivePlace, ArchiveText, Tarball
from twodfs.progress import Progress


def check_file(file: Path) -> None:
    """Look at where an archive is to go.

    An archive is written in no particular order and takes its place once it is whole.

    Raises:
        UsageError: it cannot go there.
    """
    if file.is_dir():
        raise UsageError(f"{file} is a directory; name a file, as {file / 'model.tar'}")
    if file.exists() and not file.is_file():
        raise UsageError(f"{file} is no regular file, and is left alone; name another")
    parent = _target(file).parent
    if not parent.is_dir():
        raise UsageError(f"cannot write {file}: there is no directory {parent}; make it first")


def write_stream(tarball: Tarball, source: SizedSource, stream: BinaryIO, progress: Progress) -> None:
    """Write an archive from its first byte to its last, one blob at a time; raises like ``write_file``."""
    at = 0
    parts: list[ArchiveText | ArchivePlace] = [*tarball.texts, *tarball.places]
    for part in sorted(parts, key=lambda part: part.at):
        stream.write(bytes(part.at - at))
        if isinstance(part, ArchiveText):
            stream.write(part.content)
            at = part.at + len(part.content)
            continue
        blob = part.blob
        # A transfer may begin again, and sent bytes cannot be taken back.
        with (
            tempfile.TemporaryFile() as waiting,
            progress.step(f"export {blob.digest[:19]}", blob.size) as advance,
        ):
            source.download(blob, cast("BinaryIO", waiting), advance)
            waiting.seek(0)
            shutil.copyfileobj(waiting, stream, CHUNK)
        at = part.at + blob.size
    stream.write(bytes(tarball.size - at))
    stream.flush()


def write_file(tarball: Tarball, source: SizedSource, file: Path, progress: Progress) -> None:
    """Write an archive into ``file``, which is replaced once it is whole; several blobs at a time.

    Raises:
        BuildError: the file cannot be written, or a blob has another size than its descriptor says.
        DigestError: a blob is damaged.
        UsageError: see ``check_file``.
    """
    with _replacing(file) as descriptor:
        os.truncate(descriptor, tarball.size)
        for text in tarball.texts:
            _pwrite(descriptor, text.content, text.at)
        concurrently(
            (partial(_fetch, source, place, descriptor, progress) for place in tarball.places),
            limit=TRANSFERS,
        )
        os.fsync(descriptor)


def _fetch(source: SizedSource, place: ArchivePlace, descriptor: int, progress: Progress) -> None:
    blob = place.blob
    with (
        progress.step(f"export {blob.digest[:19]}", blob.size) as advance,
        io.BufferedWriter(_Window(descriptor, place.at, blob.size), CHUNK) as file,
    ):
        source.download(blob, file, advance)


@contextmanager
def _replacing(file: Path) -> Iterator[int]:
    """Yield a descriptor of a new file that takes the place of ``file`` at the end of the block.

    A link stays one. The leftovers of a killed run are overwritten, and removed as well.
    """
    check_file(file)
    target = _target(file)
    temporary = target.with_name(f".{target.name}.part")
    try:
        descriptor = _opened_alone(temporary, file)
        try:
            yield descriptor
            temporary.replace(target)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
        finally:
            os.close(descriptor)
    except OSError as error:
        if error.filename not in (None, str(temporary)):
            raise
        raise BuildError(f"cannot write {file}: {error.strerror}") from None


def _target(file: Path) -> Path:
    return Path(os.path.realpath(file))


def _opened_alone(temporary: Path, file: Path) -> int:
    """Return a descriptor of ``temporary``, empty, which no other process has while it is open."""
    while True:
        descriptor = os.open(temporary, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK, 0o666)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if _is_at(descriptor, temporary):
                os.truncate(descriptor, 0)
                return descriptor
        except BlockingIOError:
            os.close(descriptor)
            raise BuildError(f"{file} is being written by another export; wait for it") from None
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)  # the other export has just ended, and given it its name


def _is_at(descriptor: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), path.lstat())
    except FileNotFoundError:
        return False


def _pwrite(descriptor: int, content: bytes | memoryview, at: int) -> None:
    view = memoryview(content)
    while view:
        written = os.pwrite(descriptor, view, at)
        view, at = view[written:], at + written


class _Window(io.RawIOBase):
    """A stretch of the archive as a file of its own, so that several blobs are on their way at once."""

    def __init__(self, descriptor: int, start: int, size: int) -> None:
        self._descriptor = descriptor
        self._start = start
        self._size = size
        self._at = 0

    def writable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        self._at = offset + {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self._size}[whence]
        return self._at

    def truncate(self, size: int | None = None) -> int:
        """Leave the bytes: a transfer that begins again writes over them."""
        return self._size if size is None else size

    def write(self, content: Any) -> int:  # any buffer; Python 3.11 has no name for them
        view = memoryview(content).cast("B")
        if self._at + len(view) > self._size:
            raise BuildError(f"a blob has more than the {self._size} bytes that its descriptor says")
        _pwrite(self._descriptor, view, self._start + self._at)
        self._at += len(view)
        return len(view)
