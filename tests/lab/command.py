"""A command that runs to its end, within a time limit."""

import subprocess
from collections.abc import Mapping, Sequence


class CommandError(Exception):
    """A command ended with a status other than 0, or not in time; carries all that it wrote."""

    def __init__(self, argv: Sequence[str], why: str, output: str) -> None:
        super().__init__(f"{' '.join(argv)}: {why}\n{output}")
        self.output = output


def run(argv: Sequence[str], environment: Mapping[str, str], *, seconds: float = 120.0) -> str:
    """Return what the command wrote to its standard output; raises CommandError."""
    try:
        ended = subprocess.run(
            argv,
            env=dict(environment),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=seconds,
            check=False,
            start_new_session=True,
        )
    except subprocess.TimeoutExpired as late:
        written = (late.stdout or b"") + (late.stderr or b"")
        raise CommandError(argv, f"still running after {seconds:g} s", written.decode(errors="replace")) from late
    if ended.returncode:
        output = (ended.stdout + ended.stderr).decode(errors="replace")
        raise CommandError(argv, f"exit status {ended.returncode}", output)
    return ended.stdout.decode(errors="replace")
