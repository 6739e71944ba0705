"""``twodfs-proxy doctor``: arguments, and what is printed."""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
from pathlib import Path
from typing import Any, Final

import orjson

from proxy import logs
from proxy.config import Config, ConfigError, LogConfig, load
from proxy.doctor.examination import examine
from proxy.doctor.finding import Finding, Level, verdict
from proxy.doctor.image import ImageProbe
from twodfs.errors import InvalidReferenceError
from twodfs.oci.reference import Reference
from twodfs.printable import LAYOUT, printable

NAME: Final = "doctor"
_DESCRIPTION: Final = """
Look at registry, Redis, settings and this machine, and say what to change.

Credentials come from Docker's configuration and are never printed.
Nothing is changed, but for a record in Redis that expires after 10 s.
"""
_EPILOG: Final = """
Example:  twodfs-proxy doctor --upstream https://registry.example.org --repository library/model --tag v1

Exit status: 0 no problems (there may be warnings), 1 problems, 2 wrong command line or configuration.
"""
_USAGE_ERROR: Final = 2
_COLOURS: Final = {Level.OK: 32, Level.SKIPPED: 90, Level.WARNING: 33, Level.PROBLEM: 31}
"""ANSI's numbers, as terminals take them."""


def add_to(commands: Any) -> None:
    """Add this command to the subparsers of another."""
    parser = commands.add_parser(
        NAME,
        help="look at registry, Redis, settings and this machine, and say what to change",
        description=_DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        usage="twodfs-proxy doctor [OPTIONS]",
        allow_abbrev=False,
    )
    # What stands before the command's name counts, too.
    above: dict[str, Any] = {"default": argparse.SUPPRESS}
    parser.add_argument("--upstream", metavar="URL", help="the stock registry, as http://127.0.0.1:5001", **above)
    parser.add_argument(
        "--config",
        metavar="FILE",
        type=Path,
        help="the proxy's TOML file; the environment counts as well",
        **above,
    )
    parser.add_argument("--repository", metavar="NAME", help="repository of an image to try, as library/model")
    parser.add_argument("--tag", metavar="TAG", help="tag of the image to try")
    parser.add_argument(
        "--realm-host",
        metavar="HOST[:PORT]",
        action="append",
        default=[],
        help="token server beside the registry's own address that may see Docker's credentials",
    )
    parser.add_argument("--json", action="store_true", help="print the findings as JSON, for programs")
    parser.set_defaults(refuse=parser.error)


def run(arguments: argparse.Namespace) -> int:
    """Examine what the arguments name, print what was found, and return the exit status."""
    try:
        settings = load({"upstream": arguments.upstream}, os.environ, arguments.config)
    except ConfigError as error:
        for line in str(error).splitlines():
            print(f"twodfs-proxy doctor: {line}", file=sys.stderr)  # noqa: T201 - the reason
        return _USAGE_ERROR
    probe = _probe(arguments)
    logs.configure(LogConfig(level="error"))
    findings = asyncio.run(examine(settings, probe))
    if arguments.json:
        print(printable(_as_json(settings, findings), kept=LAYOUT))  # noqa: T201 - the result
    else:
        print("\n".join(map(_line, findings)), _summary(findings), sep="\n")  # noqa: T201
    return int(verdict(findings) is Level.PROBLEM)


def _probe(arguments: argparse.Namespace) -> ImageProbe | None:
    repository, tag = arguments.repository, arguments.tag
    if repository is None and tag is None:
        return None
    if repository is None or tag is None:
        arguments.refuse("--repository and --tag belong together")
    try:
        Reference.parse(f"localhost/{repository}:{tag}")
    except InvalidReferenceError as error:
        arguments.refuse(str(error))
    return ImageProbe(repository, tag, frozenset(arguments.realm_host))


def _line(finding: Finding) -> str:
    level = f"{finding.level:<8}"
    if sys.stdout.isatty() and not os.environ.get("NO_COLOR"):
        level = f"\x1b[{_COLOURS[finding.level]}m{level}\x1b[0m"
    sentence, advice = printable(finding.sentence), printable(finding.advice)
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
    document = {
        "upstream": settings.upstream.url,
        "verdict": verdict(findings),
        "findings": [one.as_dict() for one in findings],
    }
    return orjson.dumps(document, option=orjson.OPT_INDENT_2).decode()
