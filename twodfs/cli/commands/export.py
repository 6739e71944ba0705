"""Write an image or a partition of it into an archive, without a proxy.

The local store is looked into first, then the registry. The same image gives the same bytes.

Example:
    twodfs export registry.example.com/model:v1--0.0.1.2 model.docker.tar
    docker load --input model.docker.tar
    twodfs export registry.example.com/model:v1--edge - --format docker | docker load
"""

from __future__ import annotations

import sys
from argparse import Namespace
from typing import TYPE_CHECKING

from twodfs.choices import ArchiveFormat
from twodfs.cli.options import add_image, add_output_options, add_platforms, add_registry_options
from twodfs.cli.parser import CommandParser, file, one_of
from twodfs.errors import DamagedError, UsageError

if TYPE_CHECKING:
    from twodfs.publish.export import Exported


def declare(parser: CommandParser) -> None:
    """Declare the command's options."""
    add_image(parser)
    parser.add_argument("file", **file(), help="The archive to be written; - is standard output.")
    parser.add_argument(
        "--format",
        **one_of(ArchiveFormat),
        help="docker: for 'docker load'; the default for a FILE that ends in .docker or "
        ".docker.tar. oci: for skopeo and podman; the default for any other.",
    )
    add_platforms(
        parser, "Which of the images, as linux/arm64; several between commas, or again. All where it is left out."
    )
    add_registry_options(parser)
    add_output_options(parser)


def run(arguments: Namespace) -> int:
    """Write an archive, and print the image's reference and digest; raises ``TwodfsError``."""
    from contextlib import nullcontext
    from dataclasses import replace

    from twodfs.cli.console import open_progress, print_json, say
    from twodfs.cli.lookup import existing_store, find, found_again
    from twodfs.cli.registries import Registries, Security
    from twodfs.oci.platforms import parse_platforms
    from twodfs.oci.reference import Reference
    from twodfs.publish.archive_output import check_file
    from twodfs.publish.export import Export, export_image

    security = Security.of(arguments)
    reference = Reference.parse(arguments.reference)
    platforms = parse_platforms(tuple(arguments.platform or ()))
    to_standard_output = str(arguments.file) == "-"
    if to_standard_output:
        _check_standard_output(as_json=arguments.json)
    else:
        check_file(arguments.file)
    store = existing_store()
    with open_progress(quiet=arguments.quiet) as progress, store.in_use() if store else nullcontext():
        with Registries(reference.registry, security) as registries:
            found = find(reference, registries, progress)
            name = None if reference.digest else str(replace(reference, tag=found.tag))
            plan = Export(
                found.source,
                found.root,
                name,
                arguments.format or ArchiveFormat.of(arguments.file.name),
                platforms,
                file=None if to_standard_output else arguments.file,
                stream=sys.stdout.buffer if to_standard_output else None,
            )
            try:
                exported = export_image(plan, progress)
            except DamagedError as damaged:
                # As of a base whose layers never came here, since the registry took them itself.
                found = found_again(reference, registries, damaged)
                if found.root.digest != plan.root.digest or to_standard_output:  # some of it has gone out
                    raise
                progress.note(f"{damaged}; it comes from the registry instead")
                exported = export_image(replace(plan, source=found.source), progress)
        progress.note(_summary("an archive" if to_standard_output else str(arguments.file), exported))
    if arguments.json:
        content = {
            "reference": name or str(reference),
            "digest": exported.root.digest,
            "mediaType": exported.root.media_type,
            "file": str(arguments.file),
            "format": exported.format,
            "platforms": [str(platform) for platform in exported.platforms],
            "bytes": exported.size,
        }
        print_json(content)
    elif not to_standard_output:
        say(f"{name}@{exported.root.digest}" if name else str(reference))
    return 0


def _check_standard_output(*, as_json: bool) -> None:
    if as_json:
        raise UsageError("--json and the archive cannot both go to standard output; name a file")
    if sys.stdout.isatty():
        raise UsageError("an archive is nothing for a terminal; name a file, or pipe it on")


def _summary(place: str, exported: Exported) -> str:
    from twodfs.sizes import size_text

    if exported.format is ArchiveFormat.DOCKER:
        readers = "'docker load', as for podman"
    else:
        readers = "skopeo and podman, as oci-archive; for 'docker load' take --format docker"
    platforms = ", ".join(map(str, exported.platforms))
    return f"wrote {place}, {size_text(exported.size)}, of {platforms}, for {readers}"
