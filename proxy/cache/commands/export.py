"""Write images or partitions into an OCI archive, to be carried to another node.

The registry is not asked: a partition that nobody has pulled yet is cut from what is here. The archive holds \
signatures and referrers, too, as far as they are known here, and of a partition the documents that it is cut from. \
'skopeo copy oci-archive:FILE:REPOSITORY:TAG ...' reads it, unless --have left something out. The same content gives \
the same bytes.

Example:
    twodfs-proxy cache export --edge /var/lib/twodfs -o model.tar library/model:v1--0.0.1.2
    twodfs-proxy cache export --edge /var/lib/twodfs -o more.tar --have site-a.json library/model:v2--0.0.1.2
"""

from __future__ import annotations

import sys
from argparse import Namespace
from typing import TYPE_CHECKING, Any

from twodfs.cli.parser import CommandParser, file
from twodfs.errors import UsageError

if TYPE_CHECKING:
    from proxy.cache.archive.export import ExportPlan
    from proxy.cache.archive.holding import Holding
    from proxy.cache.images.reference import CachedName


def declare(parser: CommandParser) -> None:
    """Declare the command's options."""
    from proxy.cache.options import add_directory_options

    parser.add_argument("references", metavar="REF...", nargs="+", help="An image or a partition, as it is pulled.")
    parser.add_argument("--output", "-o", **file(), required=True, help="The archive; - is standard output.")
    parser.add_argument(
        "--have",
        **file(),
        help="What the other side has: its 'cache ls --json', or an archive that it imported. That is left out.",
    )
    parser.add_flag("--partial", text="Export images of which a part is missing here, without it.")
    add_directory_options(parser)
    parser.add_flag("--json", text="Print the result as JSON, for programs.")
    parser.add_flag("--quiet", "-q", text="Show no progress.")


def run(arguments: Namespace) -> int:
    """Write the archive, and say what is in it; raises ``TwodfsError``."""
    import asyncio

    from proxy.cache.archive.holding import read_holding
    from proxy.cache.images.reference import CachedName
    from twodfs.cli.console import print_json, say
    from twodfs.cli.grid import count_text
    from twodfs.publish.archive_output import check_file
    from twodfs.sizes import size_text

    to_standard_output = str(arguments.output) == "-"
    if to_standard_output and (arguments.json or sys.stdout.isatty()):
        raise UsageError("an archive cannot go to a terminal, nor beside --json; name a file, or pipe it on")
    if not to_standard_output:
        check_file(arguments.output)
    names = [CachedName.parse(text) for text in dict.fromkeys(arguments.references)]
    holding = read_holding(arguments.have) if arguments.have else _nothing
    plan = asyncio.run(_written(arguments, names, holding))
    if arguments.json:
        print_json(_as_json(arguments, names, plan))
    elif not to_standard_output:
        left_out = f", {count_text(len(plan.left_out), 'blob')} left out" if plan.left_out else ""
        say(f"wrote {arguments.output}: {count_text(plan.blobs, 'blob')}, {size_text(plan.size)}{left_out}")
        for name, parts in plan.missing.items():
            say(f"{name} is in part only: {count_text(len(parts), 'blob')} missing")
    return 0


def _nothing(_: Any) -> bool:
    return False


async def _written(arguments: Namespace, names: list[CachedName], holding: Holding) -> ExportPlan:
    import asyncio

    from proxy.cache.archive.export import plan_export, write_export
    from proxy.cache.archive.facts import CarriedAnswer
    from proxy.cache.opened import opened
    from twodfs.cli.console import open_progress

    target = sys.stdout.buffer if str(arguments.output) == "-" else arguments.output
    async with opened(arguments) as cache:
        images = await cache.images()
        found = await asyncio.to_thread(images.find_all, names)
        answers = [CarriedAnswer.of(row) for row in await cache.answers.all()]
        plan = await asyncio.to_thread(
            plan_export, cache.disk, found, answers, has_already=holding, partial=arguments.partial
        )
        with open_progress(quiet=arguments.quiet) as progress:
            await asyncio.to_thread(write_export, plan, cache.disk, target, progress)
        return plan


def _as_json(arguments: Namespace, names: list[CachedName], plan: ExportPlan) -> dict[str, Any]:
    return {
        "file": str(arguments.output),
        "images": list(map(str, names)),
        "blobs": plan.blobs,
        "bytes": plan.size,
        "leftOut": sorted(plan.left_out),
        "missing": {name: [part.digest for part in parts] for name, parts in plan.missing.items()},
    }
