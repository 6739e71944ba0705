"""Look at registry, Redis, settings and this machine, and say what to change.

Credentials come from Docker's configuration and are never printed. Nothing is changed, but for a record in Redis
that expires after 10 s, and a file in an edge directory that is removed at once.

Example:
    twodfs-proxy doctor --upstream https://registry.example.org --repository library/model --tag v1
    twodfs-proxy doctor --config proxy.toml --registry hub --repository library/busybox --tag 1.36

Exit status:
    0    no problems (there may be warnings)
    1    problems
    2    wrong command line or configuration
"""

from __future__ import annotations

import os
import sys
from argparse import Namespace
from typing import TYPE_CHECKING, Final

from proxy.doctor.finding import Finding, Level, verdict
from twodfs.cli.parser import CommandParser, file
from twodfs.cli.program import USAGE
from twodfs.errors import InvalidReferenceError, UsageError
from twodfs.printable import LAYOUT, printable

if TYPE_CHECKING:
    from proxy.config import Config
    from proxy.doctor.image import ImageProbe

_COLOURS: Final = {Level.OK: 32, Level.SKIPPED: 90, Level.WARNING: 33, Level.PROBLEM: 31}
"""ANSI's numbers, as terminals take them."""


def declare(parser: CommandParser) -> None:
    """Declare the command's options; options before its name count as well."""
    parser.add_argument("--upstream", metavar="URL", help="The stock registry, as http://127.0.0.1:5001.")
    parser.add_argument("--edge", metavar="DIR", help="The directory of an edge node.")
    parser.add_argument("--config", **file(), help="The proxy's TOML file; the environment counts as well.")
    parser.add_argument(
        "--registry", metavar="NAME", help="Of several [[upstream]], ask this one alone. [default: each of them]"
    )
    parser.add_argument("--repository", metavar="NAME", help="Repository of an image to try, as library/model.")
    parser.add_argument("--tag", metavar="TAG", help="Tag of the image to try.")
    parser.add_argument(
        "--realm-host",
        metavar="HOST[:PORT]",
        action="append",
        help="Token server beside the registry's own address that may see Docker's credentials; may be given again.",
    )
    parser.add_flag("--json", text="Print the findings as JSON, for programs.")


def run(arguments: Namespace) -> int:
    """Run the checks, print the findings, and return the exit status."""
    import asyncio  # noqa: PLC0415 - help needs none of it, and answers at once

    from proxy import logs  # noqa: PLC0415
    from proxy.config import ConfigError, LogConfig, load  # noqa: PLC0415
    from proxy.doctor.examination import examine, examined  # noqa: PLC0415

    try:
        settings = load(
            {"upstream": arguments.upstream, "edge.directory": arguments.edge}, os.environ, arguments.config
        )
    except ConfigError as error:
        for line in str(error).splitlines():
            print(f"twodfs-proxy doctor: {line}", file=sys.stderr)  # noqa: T201 - the reason
        return USAGE
    probe, registry = _probe(arguments), arguments.registry or ""
    examined(settings, registry)  # a name that is none is told before anything is asked
    logs.configure(LogConfig(level="error"))
    findings = asyncio.run(examine(settings, probe, registry))
    if arguments.json:
        print(printable(_as_json(settings, findings), kept=LAYOUT))  # noqa: T201 - the result
    else:
        print("\n".join(map(_line, findings)), _summary(findings), sep="\n")  # noqa: T201
    return int(verdict(findings) is Level.PROBLEM)


def _probe(arguments: Namespace) -> ImageProbe | None:
    from proxy.doctor.image import ImageProbe  # noqa: PLC0415
    from twodfs.oci.reference import Reference  # noqa: PLC0415

    repository, tag = arguments.repository, arguments.tag
    if repository is None and tag is None:
        return None
    if repository is None or tag is None:
        raise UsageError("--repository and --tag belong together; 'twodfs-proxy doctor --help' explains")
    try:
        Reference.parse(f"localhost/{repository}:{tag}")
    except InvalidReferenceError as error:
        raise UsageError(str(error)) from None
    return ImageProbe(repository, tag, frozenset(arguments.realm_host or ()))


def _line(finding: Finding) -> str:
    level = f"{finding.level:<8}"
    if sys.stdout.isatty() and not os.environ.get("NO_COLOR"):
        level = f"\x1b[{_COLOURS[finding.level]}m{level}\x1b[0m"
    about = f"{finding.registry}: " if finding.registry else ""
    sentence, advice = printable(about + finding.sentence), printable(finding.advice)
    more = f"\n{'':<21}→ {advice}" if advice else ""
    return f"{level} {finding.check:<11} {sentence}{more}"


def _summary(findings: list[Finding]) -> str:
    problems = sum(one.level is Level.PROBLEM for one in findings)
    warnings = sum(one.level is Level.WARNING for one in findings)
    if not problems and not warnings:
        return "\nNothing to change."
    told = (
        f"{count} {name}{'s' if count > 1 else ''}"
        for count, name in ((problems, "problem"), (warnings, "warning"))
        if count
    )
    return "\n" + ", ".join(told) + "."


def _as_json(settings: Config, findings: list[Finding]) -> str:
    import orjson  # noqa: PLC0415

    document = {
        "upstream": settings.upstream.url,
        **({"upstreams": {one.name: one.url for one in settings.upstreams}} if settings.upstreams else {}),
        "verdict": verdict(findings),
        "findings": [one.as_dict() for one in findings],
    }
    return orjson.dumps(document, option=orjson.OPT_INDENT_2).decode()
