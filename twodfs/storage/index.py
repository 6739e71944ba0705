"""The names of a store's images: its ``index.json``, replaced in one step, under a lock."""

from __future__ import annotations

import fcntl
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, Final

import orjson

from twodfs.errors import BuildError, FormatError
from twodfs.files import open_file, read_up_to
from twodfs.oci.documents import OCI_INDEX, Descriptor, Document, Index, Json, annotation_in, parse_manifest
from twodfs.storage.writing import FullError, overwrite, replace, writing

REF_NAME: Final = "org.opencontainers.image.ref.name"
MAX_INDEX_BYTES: Final = 64 * 1024 * 1024


class ImageIndex:
    """Which images have names."""

    def __init__(self, directory: Path) -> None:
        """Name the store's ``directory``; nothing is looked at."""
        self._directory = directory

    def tag(self, reference: str, document: Document, annotations: Mapping[str, str]) -> None:
        """Let ``reference`` name ``document``, a manifest or index of the store, from now on."""
        entry = {
            "mediaType": document.media_type,
            "digest": document.digest,
            "size": len(document.body),
            "annotations": {**annotations, REF_NAME: reference},
        }
        with self.locked():
            index = self._read()
            if any(one.raw == entry for one in index.manifests):
                return
            self._write(index, [one for one in index.manifests if _name(one) != reference], entry)

    def untag(self, *references: str) -> tuple[str, ...]:
        """Remove the names ``references``; their blobs stay. Returns the unknown ones, in which case all names stay.

        It takes no room on the disk.
        """
        with self.locked():
            index = self._read()
            names = {_name(one) for one in index.manifests}
            unknown = tuple(one for one in references if one not in names)
            if not unknown:
                self._write(index, [one for one in index.manifests if _name(one) not in references])
            return unknown

    def images(self) -> list[tuple[str, Descriptor]]:
        """Return every reference and its image, in the order in which they were given.

        Raises:
            BuildError: the store's index is malformed.
        """
        return [(name, one) for one in self._read().manifests if (name := _name(one)) is not None]

    def _write(self, index: Index, kept: Iterable[Descriptor], *more: Json) -> None:
        content = orjson.dumps({**index.raw, "manifests": [*(one.raw for one in kept), *more]})
        path = self._directory / "index.json"
        try:
            with writing(self._directory):
                replace(path, content)
        except FullError:
            if more:
                raise
            with writing(self._directory):  # a shorter file needs no more room
                overwrite(path, content)

    def find(self, reference: str) -> Descriptor | None:
        """Return the descriptor that ``reference`` names, None when the store has no such image.

        Raises:
            BuildError: the store's index is malformed.
        """
        return next((one for one in self._read().manifests if _name(one) == reference), None)

    def _read(self) -> Index:
        path = self._directory / "index.json"
        try:
            with open_file(path) as file:
                index = parse_manifest(read_up_to(file, MAX_INDEX_BYTES + 1), OCI_INDEX)
        except FileNotFoundError:
            return Index(OCI_INDEX, (), {"schemaVersion": 2, "mediaType": OCI_INDEX})
        except FormatError as error:
            raise BuildError(f"{path}: {error}; mend or remove it") from None
        if not isinstance(index, Index):
            raise BuildError(f"{path} is no index; mend or remove it")
        return index

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keep other processes from changing it."""
        with opened_lock(self._directory, "index.lock") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield  # closing the file gives the lock back


def opened_lock(directory: Path, name: str) -> BinaryIO:
    """Return the lock file ``name`` of a store, to be closed; raises ``BuildError`` where it cannot be made."""
    with writing(directory):
        return (directory / name).open("ab")


def _name(entry: Descriptor) -> str | None:
    return annotation_in(entry.raw, REF_NAME)
