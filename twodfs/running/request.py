"""A text that was asked for, and the image that it is about."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from twodfs.choices import Annotating, RunAs, RunLayout
from twodfs.errors import BuildError, UsageError
from twodfs.oci.documents import annotation_in, expect, parse_object
from twodfs.oci.image_config import MAX_CONFIG_BYTES, ImageConfig
from twodfs.oci.platforms import Platform
from twodfs.oci.reference import Reference
from twodfs.publish.cutting import FoundImage
from twodfs.publish.origin import PartitionOrigin
from twodfs.running import docker, kubernetes
from twodfs.running.modelpack import SHARED, model_annotations
from twodfs.running.places import FilePlaces
from twodfs.running.subject import SERVER, RunSubject
from twodfs.viewing.content import ImageContent, contents_of
from twodfs.viewing.files import files_of_cells
from twodfs.viewing.parts import source_of_cells


@dataclass(frozen=True, slots=True)
class RunRequest:
    """What is to be written.

    Attributes:
        run_as: what for.
        layout: how the program expects the files; None for any.
        annotating: in whose words the image is annotated; None for none.
        reference: of the image, as the program is to pull it.
        is_pinned: whether its digest is named, too.
        platform: which of the image's; None: the only one, or all.
        server: the image whose program reads the files; None: the image's own program, where it has one.
        paths: directories that have files; empty: they are read from the cells.
        mount: the directory that the whole image is mounted at; empty: each of its own where the image has it.
        pull_secret: the name of Kubernetes' Secret with the login for the registry; empty for none.
    """

    run_as: RunAs
    reference: Reference
    layout: RunLayout | None = None
    annotating: Annotating | None = None
    is_pinned: bool = False
    platform: Platform | None = None
    server: str | None = None
    paths: tuple[str, ...] = ()
    mount: str = ""
    pull_secret: str = ""

    def __post_init__(self) -> None:
        """Refuse contradictions; raises ``UsageError``."""
        if self.layout and self.run_as is not RunAs.KUBERNETES:
            raise UsageError(f"--layout {self.layout} goes with --as {RunAs.KUBERNETES}")
        if self.server and (self.layout or self.run_as is RunAs.DOCKER):
            other = f"--layout {self.layout}" if self.layout else f"--as {self.run_as}"
            raise UsageError(f"--server does not go with {other}")
        if self.mount and (self.layout or self.run_as in (RunAs.DOCKER, RunAs.CONTAINERFILE)):
            raise UsageError("--mount goes with compose, kubernetes and image-volume, which mount images")

    @property
    def mounts(self) -> bool:
        """Whether the files are wanted, whether or not the image has a program."""
        return bool(self.server or self.layout or self.mount or self.run_as is RunAs.IMAGE_VOLUME)


@dataclass(frozen=True, slots=True)
class RunText:
    """The text, and the reference that it names."""

    text: str
    reference: Reference


def write_for(request: RunRequest, image: FoundImage) -> RunText:
    """Return the text that ``request`` asks for about ``image``.

    Raises:
        BuildError: it is a 2DFS image, has no such platform, or its files are where they are of no use.
        FormatError: a document is malformed.
        RegistryError, DamagedError: a part of it is not there.
    """
    subject = _subject(request, image)
    if request.layout is RunLayout.MODELCAR:
        text = kubernetes.inference_service(subject)
    else:
        text = _WRITERS[request.run_as](subject)
    return RunText(text, subject.reference)


_WRITERS = {
    RunAs.DOCKER: docker.docker_commands,
    RunAs.COMPOSE: docker.compose_file,
    RunAs.CONTAINERFILE: docker.containerfile,
    RunAs.KUBERNETES: kubernetes.pod,
    RunAs.IMAGE_VOLUME: kubernetes.pod_with_volume,
}


def _subject(request: RunRequest, image: FoundImage) -> RunSubject:
    contents = contents_of(image)
    if PartitionOrigin.of(image) is None and any(one.cells for one in contents):
        raise BuildError(
            f"{request.reference} is a 2DFS image, which no engine runs; name a partition of it, as "
            f"{request.reference}--all ('twodfs inspect' lists them)"
        )
    content, platform = _chosen(contents, request)
    config = ImageConfig.parse(image.source.blob(content.config.digest, limit=MAX_CONFIG_BYTES)).raw
    settings = expect(config.get("config") or {}, dict, "config")
    is_program = bool(settings.get("Entrypoint") or settings.get("Cmd")) and not request.mounts
    is_about_files = not (is_program or request.mount) or request.annotating is not None
    places = _places(request, image, content) if is_about_files else FilePlaces()
    annotations = model_annotations(_said(image, settings), places.all) if request.annotating else {}
    return RunSubject(
        reference=_reference(request, image),
        places=places,
        is_program=is_program,
        has_base=bool(content.base),
        platform=platform,
        server=request.server or SERVER,
        annotations=annotations,
        pull_secret=request.pull_secret,
        mount=request.mount,
    )


def _chosen(contents: Sequence[ImageContent], request: RunRequest) -> tuple[ImageContent, Platform | None]:
    """Return the image that the text is about, and its platform where that is one."""
    if request.platform is None:
        return contents[0], contents[0].platform if len(contents) == 1 else None
    for one in contents:
        if one.platform.matches(request.platform):
            return one, one.platform
    offered = ", ".join(str(one.platform) for one in contents)
    raise BuildError(f"{request.reference} has no image for {request.platform}; it has {offered}")


def _places(request: RunRequest, image: FoundImage, content: ImageContent) -> FilePlaces:
    if request.paths:
        return FilePlaces(request.paths)
    listed = files_of_cells(source_of_cells(image), content.cells).values()
    unread = next((one.missing for one in listed if one.missing and not one.files), None)
    if unread:
        raise BuildError(
            f"the files of a cell of {request.reference} cannot be read: {unread}; --path says where they are"
        )
    paths = [file.path for one in listed for file in one.files]
    climbing = next((path for path in paths if ".." in path.split("/")), None)
    if climbing:
        raise BuildError(f"{request.reference} is refused: its file {climbing[:140]!r} climbs with '..'")
    return FilePlaces.of(paths)


def _said(image: FoundImage, settings: Mapping[str, object]) -> dict[str, str]:
    """Return what the image says about itself, in OCI's words: as labels, and as annotations."""
    root = parse_object(image.root.body)
    labels = settings.get("Labels")
    own = {key: one for key, one in labels.items() if isinstance(one, str)} if isinstance(labels, dict) else {}
    annotated = {key: annotation_in(root, key) for key in SHARED}
    return own | {key: one for key, one in annotated.items() if one is not None}


def _reference(request: RunRequest, image: FoundImage) -> Reference:
    if request.reference.digest:
        return request.reference
    digest = image.root.digest if request.is_pinned else None
    return replace(request.reference, tag=image.tag, digest=digest)
