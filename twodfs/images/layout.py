"""An image in an OCI layout (image-spec, image-layout.md): in a directory, or in an archive of one."""

from __future__ import annotations

from collections.abc import Iterator
from typing import BinaryIO, Final

from twodfs.errors import BuildError, FormatError, InvalidReferenceError
from twodfs.images.archive import Files
from twodfs.images.source import copy_verified, manifest_in
from twodfs.images.tarball import blob_path
from twodfs.oci.digest import Digest, verify
from twodfs.oci.documents import (
    MAX_MANIFEST_BYTES,
    OCI_INDEX,
    Descriptor,
    Document,
    Index,
    annotation_in,
    parse_manifest,
)
from twodfs.oci.reference import Reference
from twodfs.progress import Advance, silent
from twodfs.storage.index import REF_NAME

INDEX: Final = "index.json"
MARKER: Final = "oci-layout"
CONTAINERD_NAME: Final = "io.containerd.image.name"
"""Where Docker and containerd write an image's whole name; REF_NAME has the tag alone then."""


class LayoutImage:
    """One image of an OCI layout as a ``Source``: every name but a digest means the image itself."""

    def __init__(self, files: Files, name: str = "") -> None:
        """Find the image.

        Args:
            files: the layout.
            name: of the image, or its tag; empty where the layout has one image.

        Raises:
            BuildError: it is no layout, or has no such image, or several.
        """
        self._files = files
        try:
            self._root = _chosen(_index(files), name, str(files))
        except FormatError as error:
            raise BuildError(f"{files}: {error} of its {INDEX}") from None

    def manifest(self, reference: str) -> Document:
        """Return the manifest of a digest, else the image's own.

        Raises:
            BuildError, DigestError: it is not there, too big, or damaged.
        """
        return manifest_in(self, reference, self._root)

    def blob(self, digest: Digest, *, limit: int) -> bytes:
        """Return a blob of at most ``limit`` bytes; raises like ``manifest``."""
        return verify(read_bounded(self._files, blob_path(digest), limit=limit), digest)

    def download(self, blob: Descriptor, file: BinaryIO, advance: Advance = silent) -> None:
        """Write a blob into ``file``; raises like ``manifest``."""
        with self._files.open(blob_path(blob.digest)) as content:
            copy_verified(content, blob, file, advance)

    def __str__(self) -> str:
        return str(self._files)


def read_bounded(files: Files, name: str, *, limit: int) -> bytes:
    """Return a file of at most ``limit`` bytes; raises ``BuildError`` when it is missing or bigger."""
    with files.open(name) as file:
        content = file.read(limit + 1)
    if len(content) > limit:
        raise BuildError(f"{name} of {files} has more than {limit} bytes, which is all that is read here")
    return content


def names_image(wanted: str, name: str) -> bool:
    """Say whether ``name`` is the same as ``wanted``, which may be abbreviated."""
    return wanted == name or _normal(wanted) == _normal(name)


def _normal(name: str) -> Reference | None:
    try:
        return Reference.parse(name)
    except InvalidReferenceError:
        return None


def _index(files: Files) -> Index:
    if not files.has(INDEX):
        raise BuildError(f"{files} is no OCI layout: it has no {INDEX}")
    index = parse_manifest(read_bounded(files, INDEX, limit=MAX_MANIFEST_BYTES), OCI_INDEX)
    if not isinstance(index, Index):
        raise BuildError(f"{INDEX} of {files} is no index")
    return index


def _chosen(index: Index, wanted: str, place: str) -> Descriptor:
    entries = index.manifests
    if wanted:
        entries = tuple(one for one in entries if any(names_image(wanted, name) for name in _names(one)))
    if len({entry.digest for entry in entries}) == 1:
        return entries[0]
    names = ", ".join(name for one in index.manifests for name in _names(one)) or "no names"
    if not entries:
        raise BuildError(f"{place} has no image {wanted!r}; it has {names}" if wanted else f"{place} is empty")
    raise BuildError(f"{place} has several images; say which, behind a colon: {names}")


def _names(entry: Descriptor) -> Iterator[str]:
    for key in (CONTAINERD_NAME, REF_NAME):
        if (name := annotation_in(entry.raw, key)) is not None:
            yield name
