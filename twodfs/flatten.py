"""Cut a partition: source image + selection -> an ordinary image, by index manipulation alone.

``cut`` is a generator that never does I/O: it yields batches of what it needs and is sent the answers, so the
proxy (asking a registry, concurrently) and the command line (reading a local store) run the same code::

    steps = cut(source, selection, image="library/model:v1")
    needs = next(steps)
    while True:
        needs = steps.send({need: answer(need) for need in needs})    # StopIteration carries the result

The result depends on nothing but the source's bytes and the selection: same input, same bytes, in every
process and every release that has the same ``FLATTEN_VERSION``.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, TypeAlias

from twodfs.digest import Digest
from twodfs.errors import FormatError, NothingSelectedError, TooManyLayersError, UnsupportedTypeError, within
from twodfs.field import Allotment, Field
from twodfs.oci import Descriptor, Document, ImageConfig, Index, Json, Manifest, parse_manifest
from twodfs.partition import Selection

FLATTEN_VERSION: Final = 1
"""Raised whenever the same source and selection would give other bytes than before."""

DEFAULT_MAX_LAYERS: Final = 125
"""Docker Engine's classic store takes 125 layers and fails at 126 with "max depth exceeded"."""

MAX_IMAGES: Final = 64
"""The most images (platforms) of one index; the largest official ones have some fifteen."""

SOURCE_ANNOTATION: Final = "2dfs.source.digest"
SELECTION_ANNOTATION: Final = "2dfs.selection"


class Kind(StrEnum):
    """What a ``Need`` is answered with."""

    MANIFEST = "manifest"  # bytes that hash to the digest
    CONFIG = "config"  # bytes that hash to the digest
    FIELD = "field"  # the parsed Field
    SIZE = "size"  # the blob's size in bytes, an int


@dataclass(frozen=True, slots=True)
class Need:
    """Something ``cut`` cannot know by itself."""

    kind: Kind
    digest: Digest


Answer: TypeAlias = "bytes | Field | int"
Cut: TypeAlias = "Generator[tuple[Need, ...], Mapping[Need, Answer], Partition | None]"


@dataclass(frozen=True, slots=True)
class Partition:
    """A flattened image.

    Attributes:
        selection: what was cut, names replaced by their rectangles; as it was asked for where the fields of
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


@dataclass(frozen=True, slots=True)
class _Fielded:
    """A source manifest that has a field, and what has to be fetched to flatten it."""

    manifest: Manifest
    position: int
    field: Need
    config: Need


@dataclass(frozen=True, slots=True)
class _Flattened:
    manifest: Document
    config: Document


def cut(
    source: Document, selection: Selection, *, image: str = "this image", max_layers: int = DEFAULT_MAX_LAYERS
) -> Cut:
    """Cut ``selection`` from ``source``, asking for what it takes (see the module's docstring).

    An index entry whose image has no field, or in whose field nothing is selected, is left out: a client of
    that platform then hears "no matching manifest" instead of silently getting the bare base.

    Args:
        source: the manifest or index that the base tag names.
        selection: what to keep of the field; names mean to each image what its own field says.
        image: what errors call the source image.
        max_layers: the most layers, base and allotments together, that a runtime unpacks.

    Returns:
        The partition; None when no image in the source has a field, or none defines the selection's names.

    Raises:
        PartitionError: a rectangle is inverted, nothing is selected, or too many layers.
        FormatError: a document of the source is malformed; with the path.
    """
    try:
        top = parse_manifest(source.body, source.media_type)
    except UnsupportedTypeError:
        return None
    if isinstance(top, Index):
        entries = _distinct_entries(top)
        answers = (yield _batch(Need(Kind.MANIFEST, digest) for digest in entries)) if entries else {}
        manifests = _image_manifests(entries, answers)
    else:
        manifests = {source.digest: top}

    fielded = {by: one for by, one in ((by, _fielded(m)) for by, m in manifests.items()) if one}
    if not fielded:
        return None
    answers = yield _batch(need for one in fielded.values() for need in (one.field, one.config))
    fields = {by: _field(answers, one.field) for by, one in fielded.items()}
    resolved = {by: one for by, field in fields.items() if (one := field.resolve(selection)) is not None}
    if not resolved:
        return None
    chosen = _select(fielded, fields, resolved, selection, image=image, max_layers=max_layers)

    unsized = _batch(
        Need(Kind.SIZE, one.digest)
        for allotments in chosen.values()
        for one in allotments
        if one.size is None
    )
    sizes = {need.digest: _size(need, answer) for need, answer in (yield unsized).items()} if unsized else {}
    sizes |= {one.digest: one.size for some in chosen.values() for one in some if one.size is not None}

    flat = {
        by: _flatten(
            fielded[by],
            _bytes(answers, fielded[by].config),
            allotments,
            sizes,
            _provenance(source, resolved[by]),
        )
        for by, allotments in chosen.items()
    }
    meanings = {resolved.get(by) for by in fielded}
    common = next(iter(resolved.values())) if len(meanings) == 1 else selection
    root = (
        _index(top, flat, _provenance(source, common))
        if isinstance(top, Index)
        else flat[source.digest].manifest
    )
    documents = (root, *(document for one in flat.values() for document in (one.manifest, one.config)))
    selected = {one.digest for allotments in chosen.values() for one in allotments}
    selected_bytes = sum(sizes[digest] for digest in selected)
    field_bytes = sum({one.field: fields[by].total_bytes for by, one in fielded.items()}.values())
    return Partition(
        selection=common,
        root=root,
        documents=tuple({document.digest: document for document in documents}.values()),
        allotments=len(selected),
        selected_bytes=selected_bytes,
        left_out_bytes=max(0, field_bytes - selected_bytes),
    )


def _provenance(source: Document, selection: Selection) -> dict[str, str]:
    return {SOURCE_ANNOTATION: source.digest, SELECTION_ANNOTATION: str(selection)}


def _batch(needs: Iterable[Need]) -> tuple[Need, ...]:
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


def _image_manifests(
    entries: Mapping[Digest, tuple[int, Descriptor]], answers: Mapping[Need, Answer]
) -> dict[Digest, Manifest]:
    manifests = {}
    for digest, (at, entry) in entries.items():
        with within(f"manifests[{at}]"):
            manifest = parse_manifest(_bytes(answers, Need(Kind.MANIFEST, digest)), entry.media_type)
        if isinstance(manifest, Manifest) and manifest.is_image:
            manifests[digest] = manifest
    return manifests


def _fielded(manifest: Manifest) -> _Fielded | None:
    positions = manifest.field_positions()
    if not positions:
        return None
    if len(positions) > 1:
        raise FormatError(f"an image has one field, this one has {len(positions)}", f"layers[{positions[1]}]")
    field, config = manifest.layers[positions[0]], manifest.config
    return _Fielded(
        manifest,
        positions[0],
        Need(Kind.FIELD, field.digest),
        Need(Kind.CONFIG, config.digest),
    )


def _select(
    fielded: Mapping[Digest, _Fielded],
    fields: Mapping[Digest, Field],
    resolved: Mapping[Digest, Selection],
    asked: Selection,
    *,
    image: str,
    max_layers: int,
) -> dict[Digest, list[Allotment]]:
    """Return the selected allotments of each image in which something is selected."""
    chosen: dict[Digest, list[Allotment]] = {}
    nothing: NothingSelectedError | None = None
    for by, selection in resolved.items():
        base_layers = len(fielded[by].manifest.layers) - 1
        try:
            chosen[by] = fields[by].select(selection, limit=max(0, max_layers - base_layers), image=image)
        except TooManyLayersError:
            raise TooManyLayersError(
                f"partition {asked} of {image} needs more than {max_layers} layers: {base_layers} of the "
                f"base and more than {max_layers - base_layers} allotments; container runtimes cannot "
                f"unpack that many, select fewer"
            ) from None
        except NothingSelectedError as error:
            nothing = error
    if nothing and not chosen:
        raise nothing
    return chosen


def _flatten(
    source: _Fielded,
    config_body: bytes,
    allotments: Sequence[Allotment],
    sizes: Mapping[Digest, int],
    provenance: Mapping[str, str],
) -> _Flattened:
    """Put ``allotments`` where the field stands: as layers, diff ids and history alike."""
    manifest = source.manifest
    with within(f"config {manifest.config.digest}"):
        content = _flatten_config(ImageConfig.parse(config_body), source, allotments)
    config = Document.of(manifest.config.media_type, content)
    layers = [dict(layer.raw) for layer in manifest.layers]
    layers[source.position : source.position + 1] = [
        {
            "mediaType": manifest.layer_type(one.media_type),
            "digest": one.digest,
            "size": sizes[one.digest],
        }
        for one in allotments
    ]
    flat = _annotated(
        manifest.raw, {"config": manifest.config.pointing_at(config), "layers": layers}, provenance
    )
    return _Flattened(Document.of(manifest.media_type, flat), config)


def _flatten_config(config: ImageConfig, source: _Fielded, allotments: Sequence[Allotment]) -> Json:
    base_layers = len(source.manifest.layers) - 1
    if len(config.diff_ids) != base_layers:
        raise FormatError(
            f"{len(config.diff_ids)} diff ids for {base_layers} layers beside the field", "rootfs.diff_ids"
        )
    created = {} if config.created is None else {"created": config.created}
    diff_ids: list[str] = list(config.diff_ids)
    diff_ids[source.position : source.position] = [one.diff_id for one in allotments]
    history = _complete_history(config.history, base_layers, created)
    at = _history_position(history, source.position)
    history[at:at] = [created | {"created_by": f"2dfs allotment {one.row}/{one.col}"} for one in allotments]
    return {
        **config.raw,
        "rootfs": {**config.raw["rootfs"], "diff_ids": diff_ids},
        "history": history,
    }


def _complete_history(history: Sequence[Json], layers: int, created: Mapping[str, str]) -> list[Json]:
    """Return ``history`` with an entry for each layer: the key is optional, and some builders leave it out.

    Runtimes pair entries with layers in order, so entries for the allotments alone would be misread.
    """
    missing = layers - sum(not entry.get("empty_layer", False) for entry in history)
    if missing < 0:
        raise FormatError(f"{layers - missing} entries for {layers} layers beside the field", "history")
    return [*({**created, "created_by": "base layer"} for _ in range(missing)), *history]


def _history_position(history: Sequence[Json], layers_before: int) -> int:
    """Return where in ``history`` the layer goes that has ``layers_before`` layers below it."""
    filled = [at for at, entry in enumerate(history) if not entry.get("empty_layer", False)]
    return filled[layers_before] if layers_before < len(filled) else len(history)


def _index(top: Index, flat: Mapping[Digest, _Flattened], provenance: Mapping[str, str]) -> Document:
    entries = [
        entry.pointing_at(flat[entry.digest].manifest)
        for _, entry in top.image_entries()
        if entry.digest in flat
    ]
    return Document.of(top.media_type, _annotated(top.raw, {"manifests": entries}, provenance))


def _annotated(raw: Mapping[str, object], changes: Json, provenance: Mapping[str, str]) -> Json:
    annotations = raw.get("annotations")
    kept = annotations if isinstance(annotations, dict) else {}
    return {**raw, **changes, "annotations": {**kept, **provenance}}


def _bytes(answers: Mapping[Need, Answer], need: Need) -> bytes:
    answer = answers[need]
    if not isinstance(answer, bytes):
        raise TypeError(f"{need} takes bytes, was sent {type(answer).__name__}")
    return answer


def _field(answers: Mapping[Need, Answer], need: Need) -> Field:
    answer = answers[need]
    if not isinstance(answer, Field):
        raise TypeError(f"{need} takes a Field, was sent {type(answer).__name__}")
    return answer


def _size(need: Need, answer: Answer) -> int:
    if not isinstance(answer, int):
        raise TypeError(f"{need} takes an int, was sent {type(answer).__name__}")
    return answer
