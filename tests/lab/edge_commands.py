"""An edge node's commands, run as an operator does."""

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

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


def cache(edge: Path, name: str, *arguments: str | Path) -> Ran:
    """Run `twodfs-proxy cache NAME --edge EDGE`; it must work."""
    done = run_command("cache", name, "--edge", edge, *arguments)
    assert done.status == 0, done.err + done.out
    return done
