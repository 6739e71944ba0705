"""The ``twodfs`` command: build, push, export, inspect and repair 2DFS images.

Results go to standard output, progress and errors to standard error. The exit status is 0 when it worked,
1 when it failed or found something wrong, 2 when the command line or the build file is wrong, 130 when it was
interrupted.

    grid        a field drawn as text (pure)
    listing     cells and their files as text (pure)
    help        help as text
    parser      the command line of one command
    options     options of several commands
    program     commands in a table, imported when they run
    completion  command lines completed by shells
    console     output and prompts
    registries  plain HTTP or TLS, and the CAs to trust
    pushing     shared parts of commands that push
    lookup      images out of the store, else out of their registry
    bases       the base of a build, found
    planning    what a build file amounts to
    model_options  the build file that options for a model amount to
    building    the work of build
    commands    the commands, their options and help
    (this)      the program, and how it ends

help, parser, program and completion know nothing of images: the proxy's commands are made of them, too.
"""

from __future__ import annotations

import errno
import gc
import os
import sys
from collections.abc import Sequence
from typing import Final, NoReturn

from twodfs import __version__
from twodfs.cli.commands import COMMANDS
from twodfs.cli.program import USAGE, Program
from twodfs.errors import BuildFileError, InvalidReferenceError, KeyFormatError, TwodfsError, UsageError
from twodfs.printable import printable

FAILED: Final = 1
INTERRUPTED: Final = 130

_HELP = """Put big files into a container image as a field: rows and columns of small, independent layers.

A proxy in front of the registry cuts any rectangle out of it: pulling model:v1--0.0.1.2 \
gives the base with rows 0 to 1, columns 0 to 2.

Example:
    twodfs build docker.io/library/busybox registry.example.com/model:v1 --push
    twodfs inspect registry.example.com/model:v1

Exit status:
    0    it worked
    1    it failed, or 'doctor' found something
    2    the command line or the build file is wrong
    130  it was interrupted

What is wrong goes to standard error as a line; with --json to standard output as well, as
{"error": {"message": "...", "exitStatus": 1}}.
"""

PROGRAM: Final = Program("twodfs", _HELP, f"twodfs {__version__}", COMMANDS)


def main() -> None:
    """Run the command line."""
    # Loading makes many objects and no garbage: collecting it took a tenth of the time of a short command.
    gc.set_threshold(100_000, 10, 10)
    if sys.stderr is None:
        sys.stderr = open(os.devnull, "w", encoding="utf-8")  # noqa: PTH123, SIM115 - as long as the process
    if sys.stdout is None:
        _fail("standard output is closed; >/dev/null throws results away", FAILED, is_read=False)
    status = _run(sys.argv[1:])
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        _end_unread()
    except OSError as error:
        _end_unwritten(error)
    sys.exit(status)


def _run(argv: Sequence[str]) -> int:
    """Run a command to its end; expected errors become one line and an exit status."""
    try:
        return PROGRAM.run(argv)
    except (UsageError, BuildFileError, InvalidReferenceError, KeyFormatError) as error:
        _fail(str(error), USAGE)
    except TwodfsError as error:
        _fail(str(error), FAILED)
    except BrokenPipeError:
        _end_unread()
    except OSError as error:
        if error.errno == errno.ENOSPC and not error.filename:  # files that are written are known by their names
            _end_unwritten(error)
        place = f"{error.filename}: " if error.filename else ""
        _fail(f"{place}{error.strerror or error}", FAILED)
    except KeyboardInterrupt:
        _fail("interrupted", INTERRUPTED)


def _end_unread() -> NoReturn:
    """End once the reader of the results is gone."""
    _drop_results()
    sys.exit(FAILED)


def _end_unwritten(error: OSError) -> NoReturn:
    _drop_results()
    _fail(f"cannot write standard output: {error.strerror}", FAILED, is_read=False)


def _drop_results() -> None:
    # At its end the process would try to write them once more.
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _fail(problem: str, status: int, *, is_read: bool = True) -> NoReturn:
    """Print the problem in a line, and for programs as JSON, unless the results have no reader."""
    sentence = " ".join(problem.split())
    print(f"twodfs: {printable(sentence)}", file=sys.stderr)
    options = sys.argv[1 : sys.argv.index("--")] if "--" in sys.argv else sys.argv[1:]
    if is_read and "--json" in options:
        from twodfs.cli.console import print_json  # noqa: PLC0415 - see the module's docstring

        try:
            print_json({"error": {"message": sentence, "exitStatus": status}})
            sys.stdout.flush()
        except OSError:  # the line above is enough
            _drop_results()
    sys.exit(status)
