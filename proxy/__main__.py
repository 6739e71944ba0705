"""The ``twodfs-proxy`` command."""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
from pathlib import Path
from typing import Final

import orjson

from proxy import logs, process
from proxy.config import Config, ConfigError, load
from proxy.insides import versions
from twodfs import __version__

try:
    from proxy.app import run
    from proxy.doctor import command as doctor
    from proxy.preflight import StartError, check, refuse_circle, start_error
except ImportError as error:
    if (reason := versions.without(error)) is None:
        raise
    sys.exit(f"twodfs-proxy: {reason}")

_USAGE_ERROR: Final = 2
_DESCRIPTION: Final = "Pull any rectangle of a 2DFS image from a stock registry."
_EPILOG: Final = """
Example:  twodfs-proxy --upstream http://127.0.0.1:5001 --listen 127.0.0.1:5000
Then:     docker pull 127.0.0.1:5000/library/model:v1--0.0.1.2

Every setting is also an environment variable (TWODFS_PROXY_CACHE_REDIS_URL) and a key of the TOML file
(redis_url below [cache]); config.example.toml lists them all. Flags win over environment over file.

Before going live: twodfs-proxy doctor --upstream URL  says what to change.

Exit status: 0 ended when asked to, 1 could not start, 2 wrong command line or configuration.
"""


def main() -> None:
    """Run the command."""
    arguments = _parser().parse_args()
    if arguments.command == doctor.NAME:
        sys.exit(doctor.run(arguments))
    sys.exit(_serve(arguments))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        "twodfs-proxy",
        usage="%(prog)s [OPTIONS]\n       %(prog)s doctor [OPTIONS]",
        description=_DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--upstream", metavar="URL", help="the stock registry, as http://127.0.0.1:5001")
    parser.add_argument("--listen", metavar="HOST:PORT", help="where clients connect [127.0.0.1:5000]")
    parser.add_argument(
        "--admin",
        metavar="HOST:PORT|none",
        help="where /healthz, /readyz and /metrics answer [127.0.0.1:9464]",
    )
    parser.add_argument("--config", metavar="FILE", type=Path, help="TOML file with any of the settings")
    parser.add_argument(
        "--check-config",
        action="store_true",
        help="look at all that a start would use, files included; print the settings as JSON, and exit",
    )
    parser.add_argument("--version", action="version", version=f"%(prog)s {__version__}")
    commands = parser.add_subparsers(title="commands", dest="command", metavar="")
    doctor.add_to(commands)
    return parser


def _serve(arguments: argparse.Namespace) -> int:
    """Run the proxy, or check its configuration; returns the exit status."""
    flags = {"upstream": arguments.upstream, "listen": arguments.listen, "admin": arguments.admin}

    def settings() -> Config:
        return load(flags, os.environ, arguments.config)

    try:
        config = settings()
    except ConfigError as error:
        return _refuse(str(error), _USAGE_ERROR)
    logs.configure(config.log)
    try:
        (check if arguments.check_config else refuse_circle)(config)
    except StartError as error:
        return _refuse(str(error), 1)
    if arguments.check_config:
        shown = config.model_dump(mode="json")
        print(orjson.dumps(shown, option=orjson.OPT_INDENT_2).decode())  # noqa: T201 - the result
        return 0
    process.prepare()
    try:
        if config.workers == 1:
            asyncio.run(run(config))
        else:
            from proxy.workers.supervisor import supervise  # noqa: PLC0415 - one process needs none of it

            asyncio.run(supervise(config, settings))
    except (StartError, ExceptionGroup) as error:
        reason = start_error(error)
        if reason is None:
            raise
        return _refuse(str(reason), 1)
    return 0


def _refuse(reasons: str, status: int) -> int:
    for line in reasons.splitlines():
        print(f"twodfs-proxy: {line}", file=sys.stderr)  # noqa: T201 - the reason that nothing was done
    return status


if __name__ == "__main__":
    main()
