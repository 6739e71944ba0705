"""Referrers of a manifest: their lists, and the tag that keeps one for a registry without the API.

A manifest that has a ``subject`` *refers* to it: signatures, SBOMs and attestations do. A registry lists what
refers to a digest as an image index (distribution-spec v1.1, "Listing Referrers"); where it cannot, clients
keep that index themselves, under a tag made of the digest ("Referrers Tag Schema").
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any, Final
from urllib.parse import urljoin, urlsplit

from twodfs.errors import DigestError, within
from twodfs.oci.digest import Digest, parse_digest
from twodfs.oci.documents import OCI_INDEX, OCI_MANIFEST, Document, Json, expect, list_in, parse_object
from twodfs.oci.spelling import check_descriptor_keys, check_top_keys

EMPTY_TYPE: Final = "application/vnd.oci.empty.v1+json"
"""The type of a config that is not there (image-spec, "Guidelines for Artifact Usage")."""

_TAG: Final = re.compile(r"sha256-([a-f0-9]{64})")
_LINK: Final = re.compile(r"<([!-;=?-~]*)>([^,<]*)")
_NEXT: Final = re.compile(r';\s*rel\s*=\s*"?next"?\s*(?:;|$)', re.IGNORECASE)
_LONGEST_ALGORITHM: Final = 32
_LONGEST_ENCODED: Final = 64


def referrers_tag(digest: Digest) -> str:
    """Return the tag under which clients keep the referrers of ``digest`` ("Referrers Tag Schema")."""
    algorithm, _, encoded = digest.partition(":")
    return f"{algorithm[:_LONGEST_ALGORITHM]}-{encoded[:_LONGEST_ENCODED]}"


def referred_by_tag(tag: str) -> Digest | None:
    """Return the digest whose referrers ``tag`` lists; None when it is another kind of tag."""
    match = _TAG.fullmatch(tag)
    return Digest(f"sha256:{match[1]}") if match else None


def next_page(link: str, path: str) -> str | None:
    """Return path and query of the page that follows, as a ``Link`` header names it (RFC 8288).

    None where there is none, or where it leads anywhere but to the list at ``path``: whose host it names does
    not matter, the registry is asked that was asked before.
    """
    for target, parameters in _LINK.findall(link):
        if not _NEXT.search(parameters):
            continue
        try:
            found = urlsplit(urljoin(path, target))
        except ValueError:
            return None
        return f"{found.path}?{found.query}" if found.path == path and found.query else None
    return None


def subject_of(manifest: Mapping[str, Any]) -> Digest | None:
    """Return the digest of a manifest's subject; None when it has none."""
    subject = manifest.get("subject")
    digest = subject.get("digest") if isinstance(subject, dict) else None
    try:
        return parse_digest(digest) if isinstance(digest, str) else None
    except DigestError:
        return None


def entry_of(manifest: Document) -> Json:
    """Return the entry of a list of referrers that stands for ``manifest``.

    Its ``artifactType`` is the manifest's, or else its config's type; its annotations come along ("Listing
    Referrers").

    Raises:
        FormatError: the manifest is no JSON object.
    """
    raw = parse_object(manifest.body)
    entry = manifest.descriptor
    config = raw.get("config")
    own = raw.get("artifactType") or (config.get("mediaType") if isinstance(config, dict) else None)
    if isinstance(own, str):
        entry["artifactType"] = own
    if isinstance(raw.get("annotations"), dict):
        entry["annotations"] = raw["annotations"]
    return entry


def is_unsure(entry: Mapping[str, Any]) -> bool:
    """Say whether an entry's ``artifactType`` may not be the manifest's own.

    cosign writes the type of the config into the lists that it keeps by tag, which is that of no config.
    """
    return entry.get("mediaType") == OCI_MANIFEST and entry.get("artifactType", EMPTY_TYPE) == EMPTY_TYPE


def entries_of(listed: Mapping[str, Any]) -> list[Json]:
    """Return the entries of a list of referrers.

    Raises:
        FormatError: it is no index, or spells a key as engines read another.
    """
    check_top_keys(listed)
    kept: list[Json] = list_in(listed, "manifests")
    for at, one in enumerate(kept):
        with within(f"manifests[{at}]"):
            check_descriptor_keys(expect(one, dict, ""))
    return kept


def merged_referrers(listed: Mapping[str, Any], ours: Iterable[Json], artifact_type: str | None = None) -> Document:
    """Return a list of referrers: those that a registry ``listed``, and ``ours``.

    Args:
        listed: the registry's image index; empty where it has none.
        ours: entries; entries already listed are left out.
        artifact_type: list these alone; None for all.

    Raises:
        FormatError: ``listed`` is no index.
    """
    kept = list(entries_of(listed))
    known = {one["digest"] for one in kept if isinstance(one.get("digest"), str)}
    kept += [one for one in ours if one["digest"] not in known]
    if artifact_type is not None:
        kept = [one for one in kept if one.get("artifactType") == artifact_type]
    return Document.of(OCI_INDEX, {"schemaVersion": 2, "mediaType": OCI_INDEX, **listed, "manifests": kept})


def without(listed: Mapping[str, Any], digest: Digest) -> Document:
    """Return the list without the entry for ``digest``.

    Raises:
        FormatError: ``listed`` is no index.
    """
    kept = [one for one in entries_of(listed) if one.get("digest") != digest]
    return Document.of(OCI_INDEX, {"schemaVersion": 2, "mediaType": OCI_INDEX, **listed, "manifests": kept})
