"""The ``twodfs-proxy`` command."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import Annotated

import orjson
import typer

from proxy import logs, process
from proxy.app import StartError, run, start_error
from proxy.config import ConfigError, load
from proxy.doctor.command import EPILOG, doctor
from twodfs import __version__

_USAGE_ERROR = 2
_EPILOG = """
Example:  twodfs-proxy --upstream http://127.0.0.1:5001 --listen 127.0.0.1:5000
Then:     docker pull 127.0.0.1:5000/library/model:v1--0.0.1.2

Every setting is also an environment variable (TWODFS_PROXY_CACHE_REDIS_URL) and a key of the TOML file
(redis_url below \\[cache]); config.example.toml lists them all. Flags win over environment over file.

Before going live: twodfs-proxy doctor --upstream URL  says what to change.
"""


def _show_version(wanted: bool) -> None:  # noqa: FBT001 - typer's callback protocol
    if wanted:
        typer.echo(f"twodfs-proxy {__version__}")
        raise typer.Exit


def serve(
    context: typer.Context,
    *,
    upstream: Annotated[
        str | None, typer.Option(metavar="URL", help="The stock registry, as http://127.0.0.1:5001.")
    ] = None,
    listen: Annotated[
        str | None, typer.Option(metavar="HOST:PORT", help="Where clients connect. [default: 127.0.0.1:5000]")
    ] = None,
    admin: Annotated[
        str | None,
        typer.Option(
            metavar="HOST:PORT|none",
            help="Where /healthz, /readyz and /metrics answer. [default: 127.0.0.1:9464]",
        ),
    ] = None,
    config: Annotated[
        Path | None, typer.Option(metavar="FILE", help="TOML file with any of the settings.")
    ] = None,
    check_config: Annotated[
        bool, typer.Option("--check-config", help="Print the settings that would be used, and exit.")
    ] = False,
    _version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Pull any rectangle of a 2DFS image from a stock registry."""
    if context.invoked_subcommand is not None:
        return
    flags = {"upstream": upstream, "listen": listen, "admin": admin}
    try:
        settings = load(flags, os.environ, config)
    except ConfigError as error:
        for line in str(error).splitlines():
            typer.echo(f"twodfs-proxy: {line}", err=True)
        raise typer.Exit(_USAGE_ERROR) from None
    if check_config:
        shown = settings.model_dump(mode="json")
        typer.echo(orjson.dumps(shown, option=orjson.OPT_INDENT_2).decode())
        return
    logs.configure(settings.log)
    process.prepare()
    try:
        if settings.workers == 1:
            asyncio.run(run(settings))
        else:
            from proxy.workers.supervisor import supervise  # noqa: PLC0415 - one process needs none of it

            asyncio.run(supervise(settings, lambda: load(flags, os.environ, config)))
    except (StartError, ExceptionGroup) as error:
        reason = start_error(error)
        if reason is None:
            raise
        typer.echo(f"twodfs-proxy: {reason}", err=True)
        raise typer.Exit(1) from None


def main() -> None:
    """Run the command."""
    application = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
    application.callback(invoke_without_command=True, epilog=_EPILOG)(serve)
    application.command(epilog=EPILOG)(doctor)
    application(prog_name="twodfs-proxy")


if __name__ == "__main__":
    main()
