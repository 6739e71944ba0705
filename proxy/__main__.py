"""The ``twodfs-proxy`` command."""

from __future__ import annotations

import os
import sys
from typing import Final

from proxy.cache.commands import CACHE
from twodfs import __version__
from twodfs.cli.program import USAGE, Command, Program
from twodfs.errors import BuildFileError, InvalidReferenceError, TwodfsError, UsageError
from twodfs.printable import printable

_HELP: Final = """Pull any rectangle of a 2DFS image from a stock registry.

Example:
    twodfs-proxy --upstream http://127.0.0.1:5001 --listen 127.0.0.1:5000

Then:
    docker pull 127.0.0.1:5000/library/model:v1--0.0.1.2

Every setting is also an environment variable (TWODFS_PROXY_CACHE_REDIS_URL) and a key of the TOML file \
(redis_url below [cache]); config.example.toml lists them all. Flags win over environment over file.

Before going live, this says what to change:
    twodfs-proxy doctor --upstream URL

Exit status:
    0    ended when asked to
    1    could not start
    2    wrong command line or configuration
"""
_PREFETCH: Final = Command(
    "proxy.prefetch.command", "Bring images or partitions to an edge node before anyone asks for them."
)
_INTERRUPTED: Final = 130
_DOCTOR: Final = Command(
    "proxy.doctor.command", "Look at registry, Redis, settings and this machine, and say what to change."
)

PROGRAM: Final = Program(
    "twodfs-proxy",
    _HELP,
    f"twodfs-proxy {__version__}",
    {"doctor": _DOCTOR, "cache": CACHE, "prefetch": _PREFETCH},
    default="proxy.serve",
)


def main() -> None:
    """Run the command."""
    try:
        status = PROGRAM.run(sys.argv[1:])
    except (UsageError, BuildFileError, InvalidReferenceError) as error:
        status = _refuse(error, USAGE)
    except TwodfsError as error:
        status = _refuse(error, 1)
    except BrokenPipeError:  # its reader has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        status = 1
    except KeyboardInterrupt:
        status = _refuse("interrupted", _INTERRUPTED)
    except ImportError as error:
        from proxy.insides import versions  # noqa: PLC0415 - needs aiohttp, and help does not

        if (reason := versions.without(error)) is None:
            raise
        sys.exit(f"{PROGRAM.name}: {reason}")
    sys.exit(status)


def _refuse(reason: object, status: int) -> int:
    print(f"{PROGRAM.name}: {printable(' '.join(str(reason).split()))}", file=sys.stderr)  # noqa: T201 - the reason
    return status


if __name__ == "__main__":
    main()
