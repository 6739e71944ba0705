"""An edge node's commands, run as an operator does."""

import contextlib
import io
import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

from proxy.__main__ import main
from tests.lab.programs import environment

_REPOSITORY = Path(__file__).parents[2]


@dataclass(frozen=True, slots=True)
class Ran:
    """A command that has ended."""

    status: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


def run_command(*arguments: str | Path, docker_config: Path | None = None, seconds: float = 60) -> Ran:
    """Run `twodfs-proxy` with these arguments to its end; warnings of Python are errors."""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-m", "proxy", *map(str, arguments)],
        cwd=_REPOSITORY,
        env=environment(DOCKER_CONFIG=str(docker_config or "/nonexistent"), COLUMNS="160"),
        capture_output=True,
        text=True,
        timeout=seconds,
        check=False,
    )
    return Ran(done.returncode, done.stdout, done.stderr)


def cache_command(edge: Path, name: str, *arguments: str | Path) -> Ran:
    """Run `twodfs-proxy cache NAME --edge EDGE` in this process, which saves half a second of imports."""
    argv = ["twodfs-proxy", "cache", name, "--edge", str(edge), *map(str, arguments)]
    out, err = io.StringIO(), io.StringIO()
    with (
        mock.patch.object(sys, "argv", argv),
        mock.patch("proxy.logs.configure"),  # this process's logs stay as they are
        mock.patch.dict(os.environ, {"COLUMNS": "160"}),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
    ):
        try:
            main()
        except SystemExit as end:
            return Ran(int(end.code or 0), out.getvalue(), err.getvalue())
    raise AssertionError("the command has no exit status")


def cache(edge: Path, name: str, *arguments: str | Path) -> Ran:
    """Run a cache command, which must work."""
    done = cache_command(edge, name, *arguments)
    assert done.status == 0, done.err + done.out
    return done
