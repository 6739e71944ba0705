"""An image that ``docker save`` wrote.

Its ``manifest.json`` (Docker Image Specification v1.2, "Combined Image JSON + Filesystem Changeset Format")::

    [{"Config": "<hex>.json", "RepoTags": ["busybox:latest"], "Layers": ["<id>/layer.tar"]}]

It has no manifest, so one is written. The config's diff ids are the layers' digests: layers are plain tars.
Docker 25 and later put an OCI layout beside it, which says more and is taken instead.
"""

from __future__ import annotations

import hashlib
import posixpath
import re
from collections.abc import Iterable, Sequence
from functools import partial
from typing import BinaryIO, Final

from twodfs.errors import BuildError, DigestError, FormatError, within
from twodfs.images.archive import Files
from twodfs.images.inflation import GZIP_MAGIC, Inflation, inflate
from twodfs.images.layout import INDEX, MARKER, LayoutImage, names_image, read_bounded
from twodfs.images.source import CHUNK, ImageSource, copy_verified
from twodfs.oci.digest import Digest, digest_of, from_bare_hex, verify
from twodfs.oci.documents import (
    MAX_MANIFEST_BYTES,
    OCI_CONFIG,
    OCI_LAYER,
    OCI_LAYER_GZIP,
    OCI_MANIFEST,
    Descriptor,
    Document,
    Json,
    expect,
    list_in,
    parse_json,
)
from twodfs.oci.image_config import MAX_CONFIG_BYTES, ImageConfig
from twodfs.oci.spelling import Keys
from twodfs.progress import Advance, silent

TABLE: Final = "manifest.json"

_HEX: Final = re.compile(r"[a-f0-9]{64}")
_ENTRY_KEYS: Final = Keys("Config", "RepoTags", "Layers", "Parent", "LayerSources")


def saved_image(files: Files, name: str, inflation: Inflation) -> ImageSource:
    """Return the image ``name`` of a ``docker save`` archive; empty where it has one.

    ``inflation`` says how much compressed layers may hold.

    Raises:
        BuildError: it is no such archive, has no such image, or several, or contradicts itself.
        DigestError: its config is damaged.
    """
    if files.has(MARKER) and files.has(INDEX):
        return LayoutImage(files, name)
    if not files.has(TABLE):
        raise BuildError(f"{files} was not written by 'docker save': it has no {TABLE}")
    try:
        entry = _chosen(_table(files), name, str(files))
        return _SavedImage(files, entry, inflation)
    except FormatError as error:
        raise BuildError(f"{files}: {error} of its {TABLE}") from None


class _SavedImage:
    """A ``ImageSource`` that makes the manifest up."""

    def __init__(self, files: Files, entry: Json, inflation: Inflation) -> None:
        self._files = files
        config = _config(files, expect(entry.get("Config"), str, "Config"))
        diff_ids = ImageConfig.parse(config).diff_ids
        names = [expect(one, str, f"Layers[{at}]") for at, one in enumerate(list_in(entry, "Layers"))]
        if len(names) != len(diff_ids):
            raise BuildError(f"{files} is damaged: {len(names)} layers for {len(diff_ids)} diff ids")
        layers = [_layer(files, *one, inflation) for one in zip(names, diff_ids, strict=True)]
        self._layers = {layer["digest"]: name for layer, name in zip(layers, names, strict=True)}
        content: Json = {
            "schemaVersion": 2,
            "mediaType": OCI_MANIFEST,
            "config": Document(OCI_CONFIG, digest_of(config), config).descriptor,
            "layers": layers,
        }
        self._root = Document.of(OCI_MANIFEST, content)
        self._config = config

    def manifest(self, reference: str) -> Document:
        """Return the one manifest there is."""
        del reference
        return self._root

    def blob(self, digest: Digest, *, limit: int) -> bytes:
        """Return the config, which is the only blob that is read whole."""
        if len(self._config) > limit:
            raise BuildError(f"the config of {self._files} has more than {limit} bytes")
        return verify(self._config, digest)

    def download(self, blob: Descriptor, file: BinaryIO, advance: Advance = silent) -> None:
        """Write a layer into ``file``."""
        with self._files.open(self._layers[blob.digest]) as content:
            copy_verified(content, blob, file, advance)

    def __str__(self) -> str:
        return str(self._files)


def _table(files: Files) -> list[Json]:
    table = parse_json(read_bounded(files, TABLE, limit=MAX_MANIFEST_BYTES))
    entries = [expect(one, dict, f"[{at}]") for at, one in enumerate(expect(table, list, ""))]
    for at, entry in enumerate(entries):
        with within(f"[{at}]"):
            _ENTRY_KEYS.check(entry)
    return entries


def _chosen(table: Sequence[Json], wanted: str, place: str) -> Json:
    found = table
    if wanted:
        found = [one for one in table if any(names_image(wanted, tag) for tag in _tags(one))]
    if len(found) == 1:
        return found[0]
    names = ", ".join(tag for one in table for tag in _tags(one)) or "no names"
    if not found:
        raise BuildError(f"{place} has no image {wanted!r}; it has {names}" if wanted else f"{place} is empty")
    raise BuildError(f"{place} has several images; say which, behind a colon: {names}")


def _tags(entry: Json) -> list[str]:
    return [expect(tag, str, f"RepoTags[{at}]") for at, tag in enumerate(list_in(entry, "RepoTags"))]


def _config(files: Files, name: str) -> bytes:
    """Return the config, held against the digest that its name is as a rule."""
    body = read_bounded(files, name, limit=MAX_CONFIG_BYTES)
    promised = posixpath.basename(name).removesuffix(".json")
    return verify(body, from_bare_hex(promised)) if _HEX.fullmatch(promised) else body


def _layer(files: Files, name: str, diff_id: Digest, inflation: Inflation) -> Json:
    with files.open(name) as content:
        if content.read(len(GZIP_MAGIC)) != GZIP_MAGIC:
            return {"mediaType": OCI_LAYER, "digest": diff_id, "size": files.size(name)}
    digest = _hash_compressed(files, name, diff_id, inflation)
    return {"mediaType": OCI_LAYER_GZIP, "digest": digest, "size": files.size(name)}


def _hash_compressed(files: Files, name: str, diff_id: Digest, inflation: Inflation) -> Digest:
    """Return the digest of a compressed layer, which must hold the tar of ``diff_id``."""
    algorithm, _, encoded = diff_id.partition(":")
    with files.open(name) as content:
        digest = Digest(f"sha256:{_hash(iter(partial(content.read, CHUNK), b''), 'sha256')}")
    with files.open(name) as content:
        tar_hash = _hash(inflate(content, files.size(name), inflation, f"{name} of {files}"), algorithm)
    if tar_hash != encoded:
        raise DigestError(f"{name} of {files} does not hold {diff_id}")
    return digest


def _hash(content: Iterable[bytes], algorithm: str) -> str:
    hasher = hashlib.new(algorithm)
    for chunk in content:
        hasher.update(chunk)
    return hasher.hexdigest()
