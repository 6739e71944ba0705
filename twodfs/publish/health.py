"""Whether the registry has every allotment of an image, and will keep it.

A registry's garbage collection keeps the layers of manifests. An allotment that no manifest of the image's
index lists is **unprotected**: only the field knows it, and registries do not read fields.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from http import HTTPStatus
from typing import Final

from twodfs.concurrency import concurrently
from twodfs.errors import BuildError, RegistryError
from twodfs.field.allotment import Allotment
from twodfs.field.document import read_field
from twodfs.field.partition import MAX_TAG_LENGTH, RESERVED, readings
from twodfs.flatten.budget import MAX_FIELD_BYTES
from twodfs.oci.digest import Digest, is_digest
from twodfs.oci.documents import (
    MANIFEST_TYPES,
    Descriptor,
    Document,
    Index,
    Json,
    Manifest,
    parse_manifest,
)
from twodfs.registry.session import RemoteRepository

_AT_A_TIME: Final = 16
_NO_TAGS: Final = frozenset(
    {
        HTTPStatus.UNAUTHORIZED,
        HTTPStatus.FORBIDDEN,
        HTTPStatus.NOT_FOUND,
        HTTPStatus.METHOD_NOT_ALLOWED,
        HTTPStatus.NOT_IMPLEMENTED,
    }
)


@dataclass(frozen=True, slots=True)
class FieldHealth:
    """One field, with the sizes that the registry tells.

    Attributes:
        digest: of the field.
        present: allotments that the registry has.
        missing: those it does not have.
        damaged: those it has in another size than the field says.
        unprotected: the ones that it has and no manifest of the index lists.
        names: those of the field's named partitions.
    """

    digest: Digest
    present: tuple[Allotment, ...]
    missing: tuple[Allotment, ...]
    damaged: tuple[Allotment, ...]
    unprotected: tuple[Allotment, ...]
    names: frozenset[str] = frozenset()

    @property
    def is_healthy(self) -> bool:
        """Whether all of it can be pulled, and will stay."""
        return not (self.missing or self.damaged or self.unprotected)

    def to_dict(self) -> Json:
        """Return the finding as JSON."""
        return {
            "field": self.digest,
            "allotments": len(self.present) + len(self.missing) + len(self.damaged),
            "missing": [_cell(one) for one in self.missing],
            "damaged": [_cell(one) for one in self.damaged],
            "unprotected": [_cell(one) for one in self.unprotected],
        }


@dataclass(frozen=True, slots=True)
class ImageHealth:
    """An image.

    Attributes:
        root: the document that its reference names.
        missing: entries of the index whose manifests the registry does not have.
        fields: those of the other manifests.
        hidden: tags of the repository that a proxy answers with a partition of this image: manifests stored
            under them are seen past the proxy alone. None where the registry does not tell its tags.
    """

    root: Document
    missing: tuple[Descriptor, ...]
    fields: tuple[FieldHealth, ...]
    hidden: tuple[str, ...] | None = ()

    @property
    def is_healthy(self) -> bool:
        """Whether every allotment can be pulled, and will stay."""
        return not self.missing and all(field.is_healthy for field in self.fields)

    def to_dict(self) -> Json:
        """Return the findings as JSON."""
        return {
            "digest": self.root.digest,
            "healthy": self.is_healthy,
            "missingManifests": [one.digest for one in self.missing],
            "fields": [field.to_dict() for field in self.fields],
            "hiddenTags": None if self.hidden is None else list(self.hidden),
        }


def examine(repository: RemoteRepository, name: str) -> ImageHealth:
    """Return the health of the image that ``name``, a tag or digest, has in ``repository``.

    Raises:
        BuildError: it is there in whole, and has no field.
        FormatError: a document is malformed.
        RegistryError: the registry does not give it.
    """
    root = repository.manifest(name)
    manifests, missing = _manifests(repository, root)
    listed = {layer.digest for one in manifests for layer in one.layers}
    fields = {one.layers[at].digest: None for one in manifests for at in one.field_positions()}
    if not fields and not missing:
        raise BuildError(f"{repository}:{name} has no field, so there is nothing to look after")
    found = [_field(repository, digest, listed) for digest in fields]
    return ImageHealth(root, tuple(missing), tuple(found), _hidden(repository, name, found))


def _hidden(repository: RemoteRepository, name: str, fields: Sequence[FieldHealth]) -> tuple[str, ...] | None:
    """Return the tags that read as partitions of ``name``."""
    if is_digest(name):
        return ()
    try:
        tags = repository.tags()
    except RegistryError as error:
        if error.status in _NO_TAGS:
            return None
        raise
    hidden = {
        tag
        for tag in tags
        if len(tag) <= MAX_TAG_LENGTH
        for reading in readings(tag)
        if reading.base == name and any(set(reading.selection().names) - RESERVED <= field.names for field in fields)
    }
    return tuple(sorted(hidden))


def _manifests(repository: RemoteRepository, root: Document) -> tuple[list[Manifest], list[Descriptor]]:
    """Return the manifests that a registry keeps along with ``root``, and the entries of those it lacks."""
    top = parse_manifest(root.body, root.media_type)
    if isinstance(top, Manifest):
        return [top], []
    entries = {one.digest: one for one in top.manifests if one.media_type in MANIFEST_TYPES}
    jobs = (partial(_manifest, repository, entry) for entry in entries.values())
    found = concurrently(jobs, limit=_AT_A_TIME)
    missing = [entry for entry, one in zip(entries.values(), found, strict=True) if one is None]
    return [one for one in found if isinstance(one, Manifest)], missing


def _manifest(repository: RemoteRepository, entry: Descriptor) -> Manifest | Index | None:
    try:
        document = repository.manifest(entry.digest)
    except RegistryError as error:
        if error.status == HTTPStatus.NOT_FOUND:
            return None
        raise
    return parse_manifest(document.body, entry.media_type)


def _field(repository: RemoteRepository, digest: Digest, listed: set[Digest]) -> FieldHealth:
    field = read_field(repository.blob(digest, limit=MAX_FIELD_BYTES))
    digests = dict.fromkeys(one.digest for one in field)
    answers = concurrently((partial(_size, repository, one) for one in digests), limit=_AT_A_TIME)
    sizes = dict(zip(digests, answers, strict=True))
    present, missing, damaged, unprotected = _by_state(field, sizes, listed)
    return FieldHealth(digest, present, missing, damaged, unprotected, frozenset(field.names))


def _by_state(
    field: Iterable[Allotment], sizes: Mapping[Digest, int | None], listed: set[Digest]
) -> Iterator[tuple[Allotment, ...]]:
    """Yield the allotments that are present, missing, damaged and unprotected."""
    known = [(one, sizes[one.digest]) for one in field]
    present = tuple(replace(one, size=size) for one, size in known if size is not None and one.size in (None, size))
    yield present
    yield tuple(one for one, size in known if size is None)
    yield tuple(one for one, size in known if size is not None and one.size not in (None, size))
    yield tuple(one for one in present if one.digest not in listed)


def _size(repository: RemoteRepository, digest: Digest) -> int | None:
    try:
        return repository.size(digest)
    except RegistryError as error:
        if error.status == HTTPStatus.NOT_FOUND:
            return None
        raise


def cells_text(allotments: Sequence[Allotment], most: int = 8) -> str:
    """Return the places of ``allotments`` as ``ROW/COL``, the first ``most`` of them."""
    shown = ", ".join(f"{one.row}/{one.col}" for one in allotments[:most])
    return f"{shown} and {len(allotments) - most} more" if len(allotments) > most else shown


def _cell(one: Allotment) -> Json:
    return {"row": one.row, "col": one.col, "digest": one.digest}
