"""Cut a partition: source image + selection -> an ordinary image, by index manipulation alone.

``cut`` is a generator that never does I/O: it yields batches of needs and is sent the answers, so the
proxy (asking a registry, concurrently) and the command line (reading a local store) run the same code::

    steps = cut(source, selection, image="library/model:v1")
    needs = next(steps)
    while True:
        needs = steps.send({need: answer(need) for need in needs})    # StopIteration carries the result

Batches may be empty: then some milliseconds of work are done, and others may have their turn.

The result depends on nothing but the source's bytes and the selection: same input, same bytes, in every
process and every release that has the same ``FLATTEN_VERSION``.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Final, TypeAlias

from twodfs.errors import FormatError, UnsupportedTypeError, within
from twodfs.field.allotment import Allotment
from twodfs.field.partition import Selection
from twodfs.flatten.budget import DEFAULT_MAX_LAYERS, MAX_FIELD_BYTES, Budget
from twodfs.flatten.needs import TURN, DocumentKind, DocumentNeed, Steps, bytes_in, field_in, size_from
from twodfs.flatten.rewrite import ImageWithField, rewritten_image, rewritten_index, with_types_for_zstd
from twodfs.flatten.selecting import SelectionLimits, resolve, select
from twodfs.oci.digest import Digest
from twodfs.oci.documents import OCI_LAYER_GZIP, Descriptor, Document, Index, Manifest, parse_manifest
from twodfs.oci.image_config import ImageConfig

FLATTEN_VERSION: Final = 2
"""Raised whenever the same source and selection would give other bytes than before; ``cut`` still gives
those of each version before:

1  each selected cell is a layer.
2  cells with the same blob are one layer; an image with a layer in zstd has OCI's media types; the line of
   the field is left out of the history; the media type of a cell may be told by ``compression``.
"""
_SECOND: Final = 2

MAX_IMAGES: Final = 64
"""The most images (platforms) of one index; the largest official ones have some fifteen."""

SOURCE_ANNOTATION: Final = "2dfs.source.digest"
SELECTION_ANNOTATION: Final = "2dfs.selection"


@dataclass(frozen=True, slots=True)
class Partition:
    """A flattened image.

    Attributes:
        selection: the one that was cut, names replaced by their rectangles; as it was asked for where the fields of
            the source do not agree on them. Cut from the same source, it gives the same bytes.
        root: the index, or the manifest where the source is a single one.
        documents: every document made, ``root`` first, each once.
        allotments: how many distinct allotments were selected, over all platforms.
        selected_bytes: the bytes of their blobs.
        left_out_bytes: bytes of the allotments not selected, as far as the fields record sizes.
    """

    selection: Selection
    root: Document
    documents: tuple[Document, ...]
    allotments: int
    selected_bytes: int
    left_out_bytes: int


Cut: TypeAlias = "Steps[Partition | None]"


def cut(
    source: Document,
    selection: Selection,
    *,
    image: str = "this image",
    max_layers: int = DEFAULT_MAX_LAYERS,
    max_fields: int = MAX_FIELD_BYTES,
    version: int = FLATTEN_VERSION,
) -> Cut:
    """Cut ``selection`` from ``source``, asking for the documents that it needs (see the module's docstring).

    An index entry whose image has no field, or in whose field nothing is selected, is left out: a client of
    that platform then gets "no matching manifest" instead of silently getting the bare base.

    Args:
        source: the manifest or index that the base tag names.
        selection: the part of the field to keep; each image's own field defines its names.
        image: the name of the source image in errors.
        max_layers: the most layers, base and allotments together, that a runtime unpacks.
        max_fields: the most bytes of all its fields.
        version: which ``FLATTEN_VERSION``'s bytes to write.

    Returns:
        The partition; None when no image in the source has a field, or none defines the selection's names.

    Raises:
        PartitionError: a rectangle is inverted, nothing is selected, or too many layers.
        FormatError: a document of the source is malformed; with the path.
        TooLargeError: its documents are more than ``twodfs.flatten.budget`` allows.
    """
    budget = Budget(most_field_bytes=max_fields)
    budget.take(source.body)
    try:
        top = parse_manifest(source.body, source.media_type)
    except UnsupportedTypeError:
        return None
    manifests = (yield from _image_manifests(top, budget)) if isinstance(top, Index) else {source.digest: top}
    if not isinstance(top, Index):
        budget.count(len(top.layers), "layers")
    fielded = {by: one for by, one in ((by, _image_with_field(m)) for by, m in manifests.items()) if one}
    del manifests
    if not fielded:
        return None
    configs = {one.manifest.config.digest: one.manifest.config.size for one in fielded.values()}
    field_layers = {layer.digest: layer.size for layer in (one.field for one in fielded.values())}
    budget.announce(configs.values())
    budget.announce_fields(field_layers.values())
    answers = yield (
        *(DocumentNeed(DocumentKind.FIELD, digest, size) for digest, size in field_layers.items()),
        *(DocumentNeed(DocumentKind.CONFIG, digest, size) for digest, size in configs.items()),
    )
    by_field = {digest: field_in(answers, DocumentNeed(DocumentKind.FIELD, digest)) for digest in field_layers}
    for one_field in by_field.values():
        budget.take_field(len(one_field.packed))
    resolved = yield from resolve(fielded, by_field, selection)
    if not resolved:
        return None
    limits = SelectionLimits(image, max_layers, merged=version >= _SECOND)
    chosen = yield from select(fielded, by_field, resolved, selection, limits)

    unsized = _batch(
        DocumentNeed(DocumentKind.SIZE, one.digest)
        for allotments in chosen.values()
        for one in allotments
        if one.size is None
    )
    sizes = {need.digest: size_from(need, answer) for need, answer in (yield unsized).items()} if unsized else {}
    sizes |= {one.digest: one.size for some in chosen.values() for one in some if one.size is not None}

    if version < _SECOND:
        chosen = {by: list(map(_with_inferred_as_gzip, allotments)) for by, allotments in chosen.items()}
    provenance = {one: _provenance(source, one) for one in {*resolved.values(), selection}}
    flat = {}
    for by, allotments in chosen.items():
        one = fielded[by]
        if version >= _SECOND:
            one = with_types_for_zstd(one, allotments)
        config = _config(bytes_in(answers, DocumentNeed(DocumentKind.CONFIG, one.manifest.config.digest)), one, budget)
        flat[by] = rewritten_image(
            one, config, allotments, sizes, provenance[resolved[by]], replaces_line=version >= _SECOND
        )
        yield TURN
    meanings = {resolved.get(by) for by in fielded}
    common = next(iter(resolved.values())) if len(meanings) == 1 else selection
    root = rewritten_index(top, flat, provenance[common]) if isinstance(top, Index) else flat[source.digest].manifest
    documents = (root, *(document for one in flat.values() for document in (one.manifest, one.config)))
    selected = {one.digest for allotments in chosen.values() for one in allotments}
    selected_bytes = sum(sizes[digest] for digest in selected)
    field_bytes = sum(one.total_bytes for one in by_field.values())
    return Partition(
        selection=common,
        root=root,
        documents=tuple({document.digest: document for document in documents}.values()),
        allotments=len(selected),
        selected_bytes=selected_bytes,
        left_out_bytes=max(0, field_bytes - selected_bytes),
    )


def _with_inferred_as_gzip(one: Allotment) -> Allotment:
    return replace(one, media_type=OCI_LAYER_GZIP) if one.is_inferred else one


def _provenance(source: Document, selection: Selection) -> dict[str, str]:
    return {SOURCE_ANNOTATION: source.digest, SELECTION_ANNOTATION: str(selection)}


def _batch(needs: Iterable[DocumentNeed]) -> tuple[DocumentNeed, ...]:
    return tuple(dict.fromkeys(needs))


def _distinct_entries(index: Index) -> dict[Digest, tuple[int, Descriptor]]:
    """Return the entries that may be images, each manifest once, with its first place in the index.

    Raises:
        FormatError: there are more than ``MAX_IMAGES``: small to push, but costly to cut.
    """
    found: dict[Digest, tuple[int, Descriptor]] = {}
    for at, entry in index.image_entries():
        found.setdefault(entry.digest, (at, entry))
        if len(found) > MAX_IMAGES:
            raise FormatError(f"an index of more than {MAX_IMAGES} images is not cut", f"manifests[{at}]")
    return found


def _image_manifests(top: Index, budget: Budget) -> Steps[dict[Digest, Manifest]]:
    """Return the images of an index, by the digests of their manifests."""
    budget.count(len(top.manifests), "entries of its index")
    entries = _distinct_entries(top)
    if not entries:
        return {}
    budget.announce(entry.size for _, entry in entries.values())
    answers = yield tuple(
        DocumentNeed(DocumentKind.MANIFEST, digest, entry.size) for digest, (_, entry) in entries.items()
    )
    for digest in entries:
        budget.take(bytes_in(answers, DocumentNeed(DocumentKind.MANIFEST, digest)))
    manifests = {}
    for digest, (at, entry) in entries.items():
        with within(f"manifests[{at}]"):
            manifest = parse_manifest(bytes_in(answers, DocumentNeed(DocumentKind.MANIFEST, digest)), entry.media_type)
        if isinstance(manifest, Manifest):
            budget.count(len(manifest.layers), "layers")
            if manifest.is_image:
                manifests[digest] = manifest
        yield TURN
    return manifests


def _image_with_field(manifest: Manifest) -> ImageWithField | None:
    positions = manifest.field_positions()
    if not positions:
        return None
    if len(positions) > 1:
        raise FormatError(f"an image has one field, this one has {len(positions)}", f"layers[{positions[1]}]")
    return ImageWithField(manifest, positions[0])


def _config(body: bytes, one: ImageWithField, budget: Budget) -> ImageConfig:
    budget.take(body)
    with within(f"config {one.manifest.config.digest}"):
        config = ImageConfig.parse(body)
    budget.count(len(config.diff_ids), "diff ids")
    budget.count(len(config.history), "history entries")
    return config
