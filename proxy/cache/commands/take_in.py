"""Put the images of an archive into an edge directory.

The archive is one of 'cache export', or any OCI archive whose images are named REPOSITORY:TAG. Each blob is compared \
with its digest before it counts. The tags in it become last known answers of the registry, as old as they were on the \
other node; a newer one that is here stays.

Who may pull them afterwards: where there is no registry to ask, those who have a token that the node verifies, and \
those whom the node lets in by itself (upstream.credentials with auth.clients).

Example:
    twodfs-proxy cache import --edge /var/lib/twodfs model.tar

Exit status:
    0    all images are complete now
    1    it failed, or a part of an image is neither in the archive nor here
    2    wrong command line or configuration
"""

from __future__ import annotations

from argparse import Namespace
from typing import TYPE_CHECKING, Any

from twodfs.cli.parser import CommandParser, file

if TYPE_CHECKING:
    from proxy.cache.archive.intake import Intake


def declare(parser: CommandParser) -> None:
    """Declare the command's options."""
    from proxy.cache.options import add_directory_options

    parser.add_argument("file", **file(), help="The archive.")
    parser.add_flag("--pin", text="Let its images stay, whatever else is pulled.")
    add_directory_options(parser)
    parser.add_flag("--json", text="Print the result as JSON, for programs.")
    parser.add_flag("--quiet", "-q", text="Show no progress.")


def run(arguments: Namespace) -> int:
    """Import, and say what is there now; raises ``TwodfsError``."""
    import asyncio

    from twodfs.cli.console import print_json, say
    from twodfs.cli.grid import count_text
    from twodfs.sizes import size_text

    intake, notes = asyncio.run(_taken_in(arguments))
    if arguments.json:
        print_json(_as_json(intake, notes))
    else:
        say(f"imported {count_text(len(intake.content), 'blob')}, {size_text(intake.size)}")
        for one in intake.images:
            lacks = f": {count_text(len(one.missing), 'blob')} missing, here and in the archive" if one.missing else ""
            say(f"{one.name}@{one.root.digest}{lacks}")
        for note in notes:
            say(note)
    return int(any(one.missing for one in intake.images))


async def _taken_in(arguments: Namespace) -> tuple[Intake, list[str]]:
    import asyncio
    from pathlib import Path
    from tempfile import TemporaryDirectory

    from proxy.cache.archive.intake import ArchiveSource, plan_intake, remember, take_in
    from proxy.cache.opened import node_config, opened
    from proxy.cache.pinning import pin_image
    from twodfs.cli.console import open_progress
    from twodfs.images.archive import Archive
    from twodfs.images.inflation import Inflation

    async with opened(arguments, may_be_new=True) as cache:
        with (
            TemporaryDirectory() as scratch,
            open_progress(quiet=arguments.quiet) as progress,
            Archive(arguments.file, Path(scratch), Inflation()) as archive,
        ):
            source = ArchiveSource(archive, cache.disk)
            intake = await asyncio.to_thread(plan_intake, source)
            await take_in(intake, source, cache.store, progress)
            await remember(intake, cache.store, cache.answers)
        if arguments.pin:
            images = await cache.images()
            for image in await asyncio.to_thread(images.find_all, [one.name for one in intake.images]):
                await pin_image(cache.store, image)
        return intake, _notes(intake, node_config(arguments))


def _notes(intake: Intake, config: Any) -> list[str]:
    """Return what the operator should know about who may read the images, and for how long."""
    import time

    from proxy.repository import DEFAULT_UPSTREAM

    found = []
    oldest = min((one.asked_at for one in intake.answers if one.tag), default=time.time())
    if time.time() - oldest > config.edge.max_stale:
        found.append(
            "note: a tag in it is older than edge.max_stale, so it will not be served while the registry is away; "
            "raise edge.max_stale"
        )
    registries = {DEFAULT_UPSTREAM: config, **config.others()}
    for upstream in sorted({one.name.upstream for one in intake.images}):
        its, about = registries.get(upstream), f" of {upstream}" if upstream else ""
        if its is None:
            found.append(
                f"note: no [[upstream]] {upstream} is in the configuration that this command was given, so its images "
                "are for a node that has one"
            )
        elif not its.controls_access and not its.auth.token.keys:
            found.append(
                f"note: without a registry to ask nobody may read this{about}: set auth.token.keys, or "
                "upstream.credentials and auth.clients; a node whose registry answers asks it"
            )
    return found


def _as_json(intake: Intake, notes: list[str]) -> dict[str, Any]:
    return {
        "blobs": len(intake.content),
        "bytes": intake.size,
        "images": [
            {"reference": str(one.name), "digest": one.root.digest, "missing": [part.digest for part in one.missing]}
            for one in intake.images
        ],
        "notes": notes,
    }
