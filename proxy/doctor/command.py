"""``twodfs-proxy doctor``: arguments, and what is printed."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import Annotated, Final

import orjson
import typer

from proxy import logs
from proxy.config import Config, ConfigError, LogConfig, load
from proxy.doctor.examination import examine
from proxy.doctor.finding import Finding, Level, verdict
from proxy.doctor.image import Probe
from twodfs.errors import InvalidReferenceError
from twodfs.printable import LAYOUT, printable
from twodfs.reference import Reference

EPILOG: Final = """
Example:  twodfs-proxy doctor --upstream https://registry.example.org --repository library/model --tag v1

Exit status: 0 no problems (there may be warnings), 1 problems, 2 wrong command line or configuration.
"""
_USAGE_ERROR: Final = 2
_COLOURS: Final = {
    Level.OK: typer.colors.GREEN,
    Level.SKIPPED: typer.colors.BRIGHT_BLACK,
    Level.WARNING: typer.colors.YELLOW,
    Level.PROBLEM: typer.colors.RED,
}


def doctor(
    context: typer.Context,
    *,
    upstream: Annotated[
        str | None, typer.Option(metavar="URL", help="The stock registry, as http://127.0.0.1:5001.")
    ] = None,
    config: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="The proxy's TOML file; the environment counts as well."),
    ] = None,
    repository: Annotated[
        str | None, typer.Option(metavar="NAME", help="Repository of an image to try, as library/model.")
    ] = None,
    tag: Annotated[str | None, typer.Option(metavar="TAG", help="Tag of the image to try.")] = None,
    realm_host: Annotated[
        list[str] | None,
        typer.Option(
            metavar="HOST[:PORT]",
            help="Token server beside the registry's own address that may see Docker's credentials.",
        ),
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the findings as JSON, for programs.")
    ] = False,
) -> None:
    """Look at registry, Redis, settings and this machine, and say what to change.

    Credentials come from Docker's configuration and are never printed.
    Nothing is changed, but for a record in Redis that expires after 10 s.
    """
    above = context.parent.params if context.parent is not None else {}
    settings = _settings(upstream or above.get("upstream"), config or above.get("config"))
    probe = _probe(repository, tag, realm_host or [])
    logs.configure(LogConfig(level="error"))
    findings = asyncio.run(examine(settings, probe))
    shown = _as_json(settings, findings) if as_json else "\n".join(_line(one) for one in findings)
    typer.echo(printable(shown, kept=LAYOUT))
    worst = verdict(findings)
    if not as_json:
        typer.echo(_summary(findings))
    if worst is Level.PROBLEM:
        raise typer.Exit(1)


def _settings(upstream: str | None, config: Path | None) -> Config:
    try:
        return load({"upstream": upstream}, os.environ, config)
    except ConfigError as error:
        for line in str(error).splitlines():
            typer.echo(f"twodfs-proxy doctor: {line}", err=True)
        raise typer.Exit(_USAGE_ERROR) from None


def _probe(repository: str | None, tag: str | None, realm_hosts: list[str]) -> Probe | None:
    if repository is None and tag is None:
        return None
    if repository is None or tag is None:
        raise typer.BadParameter("--repository and --tag belong together")
    try:
        Reference.parse(f"localhost/{repository}:{tag}")
    except InvalidReferenceError as error:
        raise typer.BadParameter(str(error)) from None
    return Probe(repository, tag, frozenset(realm_hosts))


def _line(finding: Finding) -> str:
    level = typer.style(f"{finding.level:<8}", fg=_COLOURS[finding.level])
    advice = f"\n{'':<21}→ {finding.advice}" if finding.advice else ""
    return f"{level} {finding.check:<11} {finding.sentence}{advice}"


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
