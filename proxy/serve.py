"""Run the proxy, or check its configuration: the default of ``twodfs-proxy``."""

from __future__ import annotations

import os
import sys
from argparse import Namespace
from typing import TYPE_CHECKING

from twodfs.cli.parser import CommandParser, file
from twodfs.cli.program import USAGE

if TYPE_CHECKING:
    from proxy.config import Config


def declare(parser: CommandParser) -> None:
    """Declare the command's options."""
    parser.add_argument("--upstream", metavar="URL", help="The stock registry, as http://127.0.0.1:5001.")
    parser.add_argument("--listen", metavar="HOST:PORT", help="Where clients connect. [default: 127.0.0.1:5000]")
    parser.add_argument(
        "--admin",
        metavar="HOST:PORT|none",
        help="Where /healthz, /readyz and /metrics answer. [default: 127.0.0.1:9464]",
    )
    parser.add_argument(
        "--edge", metavar="DIR", help="Keep what is pulled in this directory, and serve it when the registry is down."
    )
    parser.add_argument("--config", **file(), help="TOML file with any of the settings.")
    parser.add_flag(
        "--check-config",
        text="Look at all that a start would use, files included; print the settings as JSON, and exit.",
    )


def run(arguments: Namespace) -> int:
    """Run until asked to end, or check the configuration; return the exit status."""
    import asyncio  # noqa: PLC0415 - help needs none of it, and answers at once

    from proxy import app, logs, process  # noqa: PLC0415
    from proxy.config import ConfigError, load  # noqa: PLC0415
    from proxy.preflight import StartError, check, refuse_circle, start_error  # noqa: PLC0415

    flags = {
        "upstream": arguments.upstream,
        "listen": arguments.listen,
        "admin": arguments.admin,
        "edge.directory": arguments.edge,
    }

    def settings() -> Config:
        return load(flags, os.environ, arguments.config)

    try:
        config = settings()
    except ConfigError as error:
        return _refuse(str(error), USAGE)
    logs.configure(config.log)
    try:
        (check if arguments.check_config else refuse_circle)(config)
    except StartError as error:
        return _refuse(str(error), 1)
    if arguments.check_config:
        _show(config)
        return 0
    process.prepare()
    try:
        if config.workers == 1:
            asyncio.run(app.run(config))
        else:
            from proxy.workers.supervisor import supervise  # noqa: PLC0415 - one process needs none of it

            asyncio.run(supervise(config, settings))
    except (StartError, ExceptionGroup) as error:
        reason = start_error(error)
        if reason is None:
            raise
        return _refuse(str(reason), 1)
    return 0


def _show(config: Config) -> None:
    import orjson  # noqa: PLC0415 - for --check-config alone

    shown = config.model_dump(mode="json")
    for table, one in zip(shown["upstreams"], config.others().values(), strict=True):
        # With what it takes over from the settings of the default registry.
        table.update(one.model_dump(mode="json", include={"blobs", "auth"}))
    print(orjson.dumps(shown, option=orjson.OPT_INDENT_2).decode())  # noqa: T201 - the result


def _refuse(reasons: str, status: int) -> int:
    for line in reasons.splitlines():
        print(f"twodfs-proxy: {line}", file=sys.stderr)  # noqa: T201 - the reason that nothing was done
    return status
