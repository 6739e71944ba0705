"""Signatures and other artifacts that refer to an image: those of the referrers API, and those under cosign's tags."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Final

from twodfs.errors import BuildError, RegistryError
from twodfs.oci.digest import Digest
from twodfs.oci.documents import OCI_INDEX, Document, Json, digest_in
from twodfs.oci.referrers import merged_referrers, referrers_tag
from twodfs.registry.repository import RemoteRepository

_SUFFIXES: Final = ("sig", "att", "sbom")
"""Of cosign's tags: signatures, attestations, lists of parts."""
_MOST: Final = 1024


@dataclass(frozen=True, slots=True)
class Referrer:
    """A document that refers to another; ``tag`` is the one that it has, empty where it is listed alone."""

    document: Document
    tag: str = ""


def listed_referrers(source: RemoteRepository, digest: Digest) -> tuple[Json, ...]:
    """Return the entries of what refers to ``digest`` in ``source``.

    Raises:
        BuildError: more than are copied.
        RegistryError: the registry does not say.
        FormatError: its list is none.
    """
    entries = source.referrers(digest)
    if len(entries) > _MOST:
        raise BuildError(f"{source}@{digest} has {len(entries)} referrers; at most {_MOST} are copied")
    return entries


def referrers_of(source: RemoteRepository, digest: Digest, listed: Iterable[Json]) -> Iterator[Referrer]:
    """Yield what refers to ``digest`` in ``source``: the entries ``listed``, and what is under cosign's tags.

    Raises:
        RegistryError: the registry does not give it.
        FormatError: an entry is malformed.
    """
    for entry in listed:
        yield Referrer(source.manifest(digest_in(entry.get("digest"), "digest")))
    for suffix in _SUFFIXES:
        tag = f"{digest.replace(':', '-')}.{suffix}"
        try:
            yield Referrer(source.manifest(tag), tag)
        except RegistryError as error:
            if error.status != HTTPStatus.NOT_FOUND:
                raise


def list_referrers(target: RemoteRepository, digest: Digest, copied: Sequence[Json]) -> None:
    """See to it that ``target`` lists the entries ``copied`` among what refers to ``digest``.

    A registry without the referrers API leaves that to its clients ("Referrers Tag Schema").

    Raises:
        RegistryError: the registry does not say, or refuses.
        FormatError: its list is none.
    """
    if not copied:
        return
    there = target.referrers(digest)
    known = {one.get("digest") for one in there}
    new = [one for one in copied if one.get("digest") not in known]
    if new:
        kept: Json = {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": list(there)}
        target.put_manifest(merged_referrers(kept, new), referrers_tag(digest))
