"""What the commands do that look into images, write them out or mend them, and those that log in."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from twodfs.choices import ArchiveFormat
from twodfs.cli.commands import Registries, parse_target
from twodfs.cli.console import open_progress, print_json, say
from twodfs.cli.grid import count_text, draw, size_text
from twodfs.cli.security import Security
from twodfs.errors import BuildError, DamagedError, InvalidReferenceError, TwodfsError, UsageError
from twodfs.field.field import Field
from twodfs.oci.documents import Json
from twodfs.oci.platforms import parse_platforms
from twodfs.oci.reference import DOCKER_HUB, Reference
from twodfs.publish.anchoring import Anchored, anchor_image
from twodfs.publish.cutting import FoundImage, find_image, in_registry, in_store
from twodfs.publish.export import Export, Exported, check_file, export_image
from twodfs.publish.health import ImageHealth, cells_text, examine
from twodfs.publish.inspection import Inspection, inspect_image, named_partitions
from twodfs.publish.origin import PartitionOrigin
from twodfs.registry.auth import Credentials
from twodfs.registry.credentials import registry_host
from twodfs.registry.login import erase_credentials, store_credentials
from twodfs.storage.store import ImageStore, default_directory
from twodfs.storage.writing import unusable

_GRID_HEIGHT: Final = 40
_TAGS_SHOWN: Final = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportRequest:
    """The arguments of ``twodfs export``."""

    reference: str
    file: Path
    format: ArchiveFormat | None
    platforms: tuple[str, ...]
    security: Security


def export(asked: ExportRequest, *, as_json: bool, quiet: bool) -> None:
    """Write an image or a partition into an archive, and print its reference and digest.

    Raises:
        TwodfsError: see its subclasses.
    """
    reference = Reference.parse(asked.reference)
    platforms = parse_platforms(asked.platforms)
    to_standard_output = str(asked.file) == "-"
    if to_standard_output:
        _check_standard_output(as_json=as_json)
    else:
        check_file(asked.file)
    archive_format = asked.format or ArchiveFormat.of(asked.file.name)
    store = _existing_store()
    with open_progress(quiet=quiet) as progress, store.in_use() if store else nullcontext():
        with Registries(reference.registry, asked.security) as registries:
            found = _find(reference, registries)
            name = None if reference.digest else _tagged(reference, found.tag)
            plan = Export(
                found.source,
                found.root,
                name,
                archive_format,
                platforms,
                file=None if to_standard_output else asked.file,
                stream=sys.stdout.buffer if to_standard_output else None,
            )
            try:
                made = export_image(plan, progress)
            except DamagedError as damaged:
                # As of a base whose layers never came here, since the registry took them itself.
                found = _found_again(reference, registries, damaged)
                if found.root.digest != plan.root.digest or to_standard_output:  # some of it has gone out
                    raise
                progress.note(f"{damaged}; it comes from the registry instead")
                made = export_image(replace(plan, source=found.source), progress)
        progress.note(_export_summary(asked, made))
    if to_standard_output:
        return
    if not as_json:
        say(f"{name}@{made.root.digest}" if name else str(reference))
        return
    content: Json = {
        "reference": name or str(reference),
        "digest": made.root.digest,
        "mediaType": made.root.media_type,
        "file": str(asked.file),
        "format": made.format,
        "platforms": [str(platform) for platform in made.platforms],
        "bytes": made.size,
    }
    print_json(content)


def _check_standard_output(*, as_json: bool) -> None:
    if as_json:
        raise UsageError("--json and the archive cannot both go to standard output; name a file")
    if sys.stdout.isatty():
        raise UsageError("an archive is nothing for a terminal; name a file, or pipe it on")


def _export_summary(asked: ExportRequest, made: Exported) -> str:
    if made.format is ArchiveFormat.DOCKER:
        readers = "'docker load', as for podman"
    else:
        readers = "skopeo and podman, as oci-archive; for 'docker load' take --format docker"
    place = "an archive" if str(asked.file) == "-" else str(asked.file)
    platforms = ", ".join(map(str, made.platforms))
    return f"wrote {place}, {size_text(made.size)}, of {platforms}, for {readers}"


def inspect(text: str, *, security: Security, as_json: bool) -> None:
    """Print what an image is made of.

    Raises:
        TwodfsError: see its subclasses.
    """
    reference = Reference.parse(text)
    with Registries(reference.registry, security) as registries:
        image = _find(reference, registries)
        found = inspect_image(image.source, image.tag)
    origin = PartitionOrigin.of(image)
    if as_json:
        partition = {"partition": origin.to_dict()} if origin else {}
        print_json({"reference": str(reference), **found.to_dict(), **partition})
    else:
        for line in _describe(reference, found, origin):
            say(line)


def anchor(text: str, *, security: Security, as_json: bool, quiet: bool) -> None:
    """Let a registry know the allotments of an image, and say what was done.

    Raises:
        TwodfsError: see its subclasses.
    """
    target = parse_target(text)
    with open_progress(quiet=quiet) as progress:
        with security.open(target.registry) as registry:
            done = anchor_image(registry.repository(target.repository, push=True), target.name)
        progress.note(_anchor_summary(done))
    if as_json:
        content: Json = {
            "reference": str(target),
            "digest": done.root.digest,
            "before": done.before,
            "anchored": done.allotments,
            "wrapped": done.wrapped,
            "renewed": done.renewed,
        }
        print_json(content)
    else:
        say(f"{target}@{done.root.digest}")


def doctor(text: str, *, security: Security, as_json: bool) -> bool:
    """Print which allotments a registry lacks or may lose; return whether there are none.

    Raises:
        TwodfsError: see its subclasses.
    """
    reference = Reference.parse(text)
    with security.open(reference.registry) as registry:
        found = examine(registry.repository(reference.repository), reference.name)
    if as_json:
        print_json({"reference": str(reference), **found.to_dict()})
    else:
        for line in _diagnosis(reference, found):
            say(line)
    return found.is_healthy


def login(registry: str, credentials: Credentials, *, security: Security, as_json: bool, quiet: bool) -> None:
    """Try credentials at a registry, keep them where Docker keeps them, and say where.

    Raises:
        AuthError: the registry refuses them, or they cannot be kept.
        TwodfsError: see its other subclasses.
    """
    name = _registry_name(registry)
    with security.open(name, lambda _registry: credentials) as opened:
        was_checked = opened.check_login()
    place = store_credentials(name, credentials)
    if as_json:
        print_json({"registry": name, "username": credentials.username, "checked": was_checked, "keptIn": place})
    elif quiet:
        return
    elif was_checked:
        say(f"logged in to {name} as {credentials.username}; kept in {place}")
    else:
        say(f"{name} lets anyone in, so nobody checked the password; kept in {place}")


def logout(registry: str, *, as_json: bool, quiet: bool) -> None:
    """Forget the credentials for a registry.

    Raises:
        AuthError: they cannot be removed.
    """
    name = _registry_name(registry)
    was_known = erase_credentials(name)
    if as_json:
        print_json({"registry": name, "removed": was_known})
    elif not quiet:
        say(f"logged out of {name}" if was_known else f"not logged in to {name}")


def _registry_name(text: str) -> str:
    """Return the registry that ``text`` writes, without scheme and path; Docker Hub where it is empty."""
    host = registry_host(text or DOCKER_HUB)
    try:
        name = Reference.parse(f"{host}/any/image").registry
    except InvalidReferenceError:
        name = ""
    if name != host:
        raise InvalidReferenceError(f"{text!r} is no registry; expected host or host:port")
    return name


def _find(reference: Reference, registries: Registries, *, in_the_store: bool = True) -> FoundImage:
    """Return the image or partition that ``reference`` names: the store goes first, then the registry.

    Raises:
        BuildError: neither has it.
    """
    repository = f"{reference.registry}/{reference.repository}"
    if in_the_store and reference.digest is None and (store := _existing_store()):
        found = find_image(in_store(store, repository), reference.name, repository=repository)
        if found is not None:
            return found
    registry = registries.open(reference.registry)
    look_up = in_registry(registry.repository(reference.repository))
    found = find_image(look_up, reference.name, repository=repository)
    if found is None:
        raise BuildError(
            f"{reference} is neither here nor in the registry, nor a partition of an image that is; "
            f"'twodfs inspect' shows what an image can be cut into"
        )
    return found


def _found_again(reference: Reference, registries: Registries, damaged: DamagedError) -> FoundImage:
    """Return what the registry has under ``reference``; where that fails, the damage is what is wrong."""
    try:
        return _find(reference, registries, in_the_store=False)
    except TwodfsError:
        raise damaged from None


def _tagged(reference: Reference, tag: str) -> str:
    return str(replace(reference, tag=tag))


def _existing_store() -> ImageStore | None:
    directory = default_directory()
    try:
        is_there = (directory / "index.json").exists()
    except OSError as error:
        raise unusable(directory, error.strerror) from None
    return ImageStore(directory) if is_there else None


def _anchor_summary(done: Anchored) -> str:
    if done.root.digest == done.before:
        return "all allotments are anchored; nothing was done"
    if done.renewed:
        return "replaced the anchor of an earlier release, which tools that validate images refused"
    wrapped = "; the image was put into an index for that" if done.wrapped else ""
    return f"anchored {count_text(done.allotments, 'allotment')}, which nothing had protected{wrapped}"


def _diagnosis(reference: Reference, found: ImageHealth) -> Iterator[str]:
    yield f"{reference}  {found.root.digest}"
    if found.missing:
        names = ", ".join(one.digest[:19] for one in found.missing)
        yield f"missing manifests: {names}; push the image again"
    for field in found.fields:
        yield f"field {field.digest[:19]}: {count_text(len(field.present), 'allotment')} in the registry"
        if field.missing:
            yield f"  missing: {cells_text(field.missing)}; push the image again"
        if field.damaged:
            yield f"  of another size than the field says: {cells_text(field.damaged)}; push the image again"
        if field.unprotected:
            yield (
                f"  unprotected, garbage collection deletes them and copies leave them out: "
                f"{cells_text(field.unprotected)}; 'twodfs anchor {reference}' protects them"
            )
    if found.is_healthy:
        yield "all of them are anchored"
    if found.hidden:
        more = " and more" if len(found.hidden) > _TAGS_SHOWN else ""
        yield (
            f"{count_text(len(found.hidden), 'tag')} hidden by partitions of this image: "
            f"{', '.join(found.hidden[:_TAGS_SHOWN])}{more}; the proxy answers them with the partition, "
            f"and refuses to write them: delete them at the registry, past the proxy"
        )


def _describe(reference: Reference, found: Inspection, origin: PartitionOrigin | None) -> Iterator[str]:
    yield f"{reference}  {found.root.digest}"
    yield f"  {found.root.media_type}"
    for image in found.images:
        its_field = f", field {image.field[:19]}" if image.field else "" if origin else ", no field"
        yield f"  {image.platform}  {image.digest[:19]}  {count_text(image.layers, 'layer')}{its_field}"
    if origin:
        yield f"  a partition: {origin.selection or 'the base alone'}, cut from {origin.named}"
        if origin.allotments is not None:
            count = count_text(origin.allotments, "allotment")
            left = size_text(origin.left_out)
            yield f"  it has {count} of that image, {size_text(origin.size)}; {left} are left out"
        return
    yield "  the index keeps the allotments alive" if found.anchored else "  no anchor for the allotments"
    width = shutil.get_terminal_size((100, _GRID_HEIGHT)).columns
    for digest, field in found.fields.items():
        yield ""
        extent = f" in {field.extent}" if field.extent else ""
        count = count_text(field.count, "allotment")
        yield f"field {digest[:19]}: {count}{extent}, {size_text(field.total_bytes)}"
        yield from draw(field, width=width, height=_GRID_HEIGHT)
        yield from _describe_parts(field)


def _describe_parts(field: Field) -> Iterator[str]:
    for media_type, count in field.media_types().items():
        yield f"  {count} of {media_type}"
    partitions = list(named_partitions(field))
    width = max((len(one.name) for one in partitions), default=0)
    for one in partitions:
        found = "not counted" if one.allotments is None else count_text(one.allotments, "allotment")
        size = f"{found}, {size_text(one.size)}"
        yield f"  --{one.name.ljust(width)}  {size}  {one.selection}"
