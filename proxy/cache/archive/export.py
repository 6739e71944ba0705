"""An archive of images of an edge directory: planned, and written without the registry.

The same images, answers and left-out content give the same bytes.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final

import orjson

from proxy.cache.archive.facts import FACTS, CarriedAnswer, Facts
from proxy.cache.archive.holding import Holding
from proxy.cache.images.finding import CachedImage
from proxy.cache.images.parts import Part, PartKind, parts_of
from proxy.cache.images.source import AbsentError, DiskSource
from twodfs.errors import BuildError, TwodfsError
from twodfs.images.layout import CONTAINERD_NAME
from twodfs.images.source import platform_in
from twodfs.images.tarball import Tarball, blob_path
from twodfs.oci.digest import Digest
from twodfs.oci.documents import OCI_INDEX, Descriptor, Document, Index, Json, Manifest, parse_manifest
from twodfs.oci.referrers import referrers_tag
from twodfs.progress import Progress
from twodfs.publish.archive_output import write_file, write_stream
from twodfs.signing.signature import signature_tag
from twodfs.storage.index import REF_NAME

_LAYOUT: Final = b'{"imageLayoutVersion":"1.0.0"}'
_DOCUMENTS: Final = (PartKind.INDEX, PartKind.MANIFEST)
_SUFFIXES: Final = (".att", ".sbom")
"""Of cosign's tags, beside that of signatures."""


@dataclass(frozen=True, slots=True)
class ExportPlan:
    """What an archive will have.

    Attributes:
        tarball: where each part goes.
        left_out: content that the other side has, with the bytes of each.
        missing: content of the images that is not here, by the image.
        blobs: how many it has.
    """

    tarball: Tarball
    left_out: dict[Digest, int]
    missing: dict[str, tuple[Part, ...]]
    blobs: int

    @property
    def size(self) -> int:
        """The archive's bytes."""
        return self.tarball.size


def plan_export(
    disk: DiskSource,
    images: Sequence[CachedImage],
    answers: Iterable[CarriedAnswer],
    *,
    has_already: Holding,
    partial: bool,
) -> ExportPlan:
    """Return the plan of an archive.

    Args:
        disk: has the content.
        images: each once.
        answers: all that the node knows; those that concern the images are taken along.
        has_already: says what the other side has.
        partial: whether images will do of which a part is missing.

    Raises:
        BuildError: a part is missing; the message says how much, and what to do.
    """
    ordered = sorted(images, key=lambda one: one.name)
    missing = {str(one.name): found for one in ordered if (found := one.missing(disk))}
    if missing and not partial:
        raise BuildError(_lacking(missing))
    carried = sorted(_answers_of(disk, ordered, tuple(answers)))
    gathered, entries = _gather(disk, ordered, carried)
    sizes = gathered.sizes
    left_out = {digest: size for digest, size in sizes.items() if has_already(digest)}
    index: Json = {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": entries}
    texts = [
        ("oci-layout", _LAYOUT),
        ("index.json", orjson.dumps(index)),
        (FACTS, Facts(tuple(carried), left_out).encode()),
    ]
    for digest, document in sorted(gathered.documents.items()):
        if digest not in left_out:
            texts.append((blob_path(digest), document.body))
    blobs = [Descriptor("", digest, size, {}) for digest, size in sorted(gathered.blobs.items())]
    tarball = Tarball.plan(texts, [blob for blob in blobs if blob.digest not in left_out])
    return ExportPlan(tarball, left_out, missing, len(sizes) - len(left_out))


def write_export(plan: ExportPlan, disk: DiskSource, target: Path | BinaryIO, progress: Progress) -> None:
    """Write the archive, into a file that is replaced once it is whole, or as a stream.

    Raises:
        BuildError, DigestError: content is gone or damaged, or the file cannot be written.
        UsageError: it cannot go there.
    """
    if isinstance(target, Path):
        write_file(plan.tarball, disk, target, progress)
    else:
        write_stream(plan.tarball, disk, target, progress)


class _Gathered:
    """Content that goes into an archive: manifests whole, of all else the size."""

    def __init__(self, disk: DiskSource) -> None:
        self._disk = disk
        self.documents: dict[Digest, Document] = {}
        self.blobs: dict[Digest, int] = {}

    def take(self, part: Part, made: Document | None = None) -> None:
        """Take ``part`` along, if it is here; ``made``: a document that is not on the disk."""
        if made is not None:
            self.documents[part.digest] = made
        elif not self._disk.has(part.digest):
            return
        elif part.kind in _DOCUMENTS:
            self.documents[part.digest] = self._disk.manifest(part.digest)
        else:
            self.blobs[part.digest] = self._disk.size(part.digest)

    @property
    def sizes(self) -> dict[Digest, int]:
        """The bytes of all."""
        return {**self.blobs, **{digest: len(document.body) for digest, document in self.documents.items()}}


def _gather(
    disk: DiskSource, images: Sequence[CachedImage], answers: Sequence[CarriedAnswer]
) -> tuple[_Gathered, list[Json]]:
    """Return the content of ``images``, and the entries of ``index.json``: theirs by name, all others without."""
    gathered = _Gathered(disk)
    named: list[Json] = []
    others: dict[Digest, Document] = {}
    for image in images:
        for part in (*image.parts, *image.sources):
            gathered.take(part, image.made.get(part.digest))
        name = str(image.name)
        annotations = {"annotations": {REF_NAME: name, CONTAINERD_NAME: name}}
        named.append({**image.root.descriptor, **_platform(image), **annotations})
        if image.base is not None and disk.has(image.base.digest):
            base = disk.manifest(image.base.digest)
            others[base.digest] = Document(image.base.media_type, base.digest, base.body)
    for document in (one for answer in answers for one in _attached(disk, answer)):
        for part in parts_of(disk, document, allotments=False):
            gathered.take(part)
        others.setdefault(document.digest, document)
    roots = {image.root.digest for image in images}
    return gathered, [*named, *(others[digest].descriptor for digest in sorted(others) if digest not in roots)]


def _answers_of(
    disk: DiskSource, images: Sequence[CachedImage], answers: Sequence[CarriedAnswer]
) -> Iterator[CarriedAnswer]:
    """Yield the answers that another node needs to serve ``images``: their tags', and those about their manifests."""
    by_place: dict[tuple[str, str], list[CarriedAnswer]] = {}
    for answer in answers:
        resource = answer.resource.partition("?")[0]
        by_place.setdefault((answer.repository, resource), []).append(answer)
    for place in dict.fromkeys(_places(images)):
        for answer in by_place.get(place, ()):
            if not answer.digest or disk.has(Digest(answer.digest)):
                yield answer


def _places(images: Sequence[CachedImage]) -> Iterator[tuple[str, str]]:
    for image in images:
        repository = str(image.name.place)
        yield repository, f"manifests/{(image.base_name or image.name).tag}"
        for part in (*image.parts, *image.sources):
            if part.kind in _DOCUMENTS:
                signatures = signature_tag(part.digest)
                tags = (signatures, *(signatures.removesuffix(".sig") + one for one in _SUFFIXES))
                yield repository, f"referrers/{part.digest}"
                yield from ((repository, f"manifests/{tag}") for tag in (*tags, referrers_tag(part.digest)))


def _attached(disk: DiskSource, answer: CarriedAnswer) -> Iterator[Document]:
    """Yield the document of an answer, and the referrers that a list names, as far as they are here."""
    if not answer.digest:
        return
    found = disk.manifest(answer.digest)
    document = Document(answer.media_type or found.media_type, found.digest, found.body)
    yield document
    try:
        listed = parse_manifest(document.body, document.media_type)
    except TwodfsError:
        return
    if answer.resource.startswith("referrers/") and isinstance(listed, Index):
        for entry in listed.manifests:
            if disk.has(entry.digest):
                referrer = disk.manifest(entry.digest)
                yield Document(entry.media_type, referrer.digest, referrer.body)


def _platform(image: CachedImage) -> Json:
    """Return the platform of a single image, for readers that choose by it."""
    try:
        parsed = parse_manifest(image.root.body, image.root.media_type)
        if isinstance(parsed, Manifest) and parsed.is_image:
            return {"platform": platform_in(image.content, parsed).to_dict()}
    except (AbsentError, TwodfsError):
        pass
    return {}


def _lacking(missing: dict[str, tuple[Part, ...]]) -> str:
    name, parts = next(iter(missing.items()))
    more = f", and of {len(missing) - 1} more images" if len(missing) > 1 else ""
    size = sum(part.size or 0 for part in parts)
    return (
        f"{len(parts)} blobs of {name} are not here ({size} bytes){more}: 'twodfs-proxy prefetch' brings them; "
        "--partial exports what is there"
    )
