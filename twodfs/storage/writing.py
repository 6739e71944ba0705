"""A directory that files are written into, and the errors where they cannot be.

People know the store, not the files in it; so an error names the store, and the remedy.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from twodfs.errors import BuildError

READ_ONLY: Final = frozenset({errno.EROFS, errno.EACCES, errno.EPERM})

_FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})


class FullError(BuildError):
    """The store has no room for a file."""


@contextmanager
def writing(store: Path) -> Iterator[None]:
    """Put into words why the block cannot write into the directory ``store``.

    Raises:
        FullError: there is no room.
        BuildError: it may be read only.
        OSError: anything else.
    """
    try:
        with having_room(store):
            yield
    except OSError as error:
        if error.errno in READ_ONLY:
            raise read_only(store, error.strerror) from None
        raise


@contextmanager
def having_room(store: Path) -> Iterator[None]:
    """Say that the directory ``store`` is full, where the block finds that.

    Raises:
        FullError: there is no room.
        OSError: anything else.
    """
    try:
        yield
    except OSError as error:
        if error.errno in _FULL:
            raise full(store, error.strerror) from None
        raise


def full(store: Path, reason: str | None) -> FullError:
    """Return the error that says so."""
    return FullError(
        f"cannot write the store {store}: {reason}; 'twodfs prune' removes what no image needs, 'twodfs rm' "
        f"makes it that, and TWODFS_STORE names another store"
    )


def read_only(store: Path, reason: str | None) -> BuildError:
    """Return the error that says so, and whose it is."""
    return BuildError(
        f"the store {store} cannot be written: {reason}{_owner_hint(store)}; TWODFS_STORE names another store"
    )


def unreadable(store: Path, reason: str | None) -> BuildError:
    """Return the error that says that a blob of the store cannot be read, and whose the store is."""
    return BuildError(
        f"the store {store} cannot be read: {reason}{_owner_hint(store)}; TWODFS_STORE names another store"
    )


def _owner_hint(store: Path) -> str:
    owner, user = store.stat().st_uid, os.geteuid()
    return f"; it belongs to the user with the id {owner}, and yours is {user}" if owner != user else ""


def unusable(store: Path, reason: str | None) -> BuildError:
    """Return the error that says that a directory is no store for us."""
    return BuildError(f"cannot use {store} as a store: {reason}; TWODFS_STORE names another")


def replace(target: Path, content: bytes) -> None:
    """Replace a file in one step, and on the disk. The next run overwrites the leftovers of a killed one.

    Raises:
        OSError: it cannot be; then nothing stays of it.
    """
    new = target.with_name(f"{target.name}.new")
    try:
        with new.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        new.replace(target)
    except OSError:
        new.unlink(missing_ok=True)
        raise
    _sync(target.parent)


def overwrite(target: Path, content: bytes) -> None:
    """Write ``content``, JSON that is no longer than the present content, into the room that the file has.

    A reader sees the old content or the new one: the rest is spaces until it is cut off. A machine that
    dies meanwhile may leave neither, so this is for disks that have no room for ``replace``.

    Raises:
        OSError: it cannot be.
    """
    descriptor = os.open(target, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.pwrite(descriptor, content.ljust(os.fstat(descriptor).st_size), 0)
        os.truncate(descriptor, len(content))
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _sync(directory: Path) -> None:
    """Put a rename on the disk."""
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
