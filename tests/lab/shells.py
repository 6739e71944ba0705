"""Bash, zsh and fish as somebody types in them: words and the tabulator, and what the line is then."""

import os
import pty
import select
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from tests.lab.programs import program

SHELLS: Final = ("bash", "zsh", "fish")

_PROMPT: Final = b"READY> "
_SECONDS: Final = 60.0
_CONTROL_O: Final = "\x0f"
_CONTROL_U: Final = "\x15"
# Each makes Control-O write the line into $LINE, and names the prompt in two parts: an echo is none.
_BEGINNINGS: Final = {
    "bash": """
        PS1='READY''> '
        report() { printf %s "$READLINE_LINE" >"$LINE.new"; mv "$LINE.new" "$LINE"; }
        bind -x '"\\C-o": report'
    """,
    "zsh": """
        PS1='READY''> '
        report() { printf %s "$BUFFER" >"$LINE.new"; mv "$LINE.new" "$LINE" }
        zle -N report
        bindkey '^O' report
        bindkey '^U' kill-whole-line
        autoload -Uz compinit
        compinit -u -D
    """,
    "fish": """
        function fish_prompt; printf %s 'READY''> '; end
        function fish_greeting; end
        function report; commandline | string collect >"$LINE.new"; mv "$LINE.new" "$LINE"; end
        bind \\co report
        bind \\cu 'commandline ""'
    """,
}


class TypedShell:
    """A shell on a terminal of its own."""

    def __init__(self, terminal: int, line: Path) -> None:
        self._terminal = terminal
        self._line = line
        self._shown = b""

    def wait_for_prompt(self) -> None:
        """Return once it takes what is typed."""
        self._read_until(lambda: _PROMPT in self._shown)

    def completed(self, text: str) -> str:
        """Return what the line is after ``text`` and the tabulator, without space at its end."""
        self._line.unlink(missing_ok=True)
        os.write(self._terminal, f"{_CONTROL_U}{text}\t{_CONTROL_O}".encode())
        self._read_until(self._line.exists)
        return self._line.read_text().rstrip()

    def _read_until(self, condition: Callable[[], bool]) -> None:
        deadline = time.monotonic() + _SECONDS
        while not condition():
            assert time.monotonic() < deadline, self._shown
            if select.select([self._terminal], [], [], 0.02)[0]:
                self._shown += os.read(self._terminal, 65536)


@contextmanager
def typed_shell(name: str, directory: Path, beginning: str, environment: Mapping[str, str]) -> Iterator[TypedShell]:
    """Yield the shell, in ``directory``, after it has read ``beginning``."""
    home = directory / f"home-{name}"
    home.mkdir()
    start = home / ".zshrc"
    start.write_text(f"{_BEGINNINGS[name]}\n{beginning}\n")
    argv = {
        "bash": ["--noprofile", "--rcfile", str(start), "-i"],
        "zsh": ["-d", "-i"],  # -d: none of the machine's own files
        "fish": ["--private", "--init-command", f"source {start}", "--interactive"],
    }[name]
    here, there = pty.openpty()
    variables = {
        **os.environ,
        **environment,
        "HOME": str(home),
        "ZDOTDIR": str(home),
        "XDG_CONFIG_HOME": str(home),
        "XDG_DATA_HOME": str(home),
        "LINE": str(home / "line"),
        "TERM": "xterm",
    }
    with subprocess.Popen(
        [program("setsid"), "--ctty", "--wait", program(name), *argv],
        stdin=there,
        stdout=there,
        stderr=there,
        cwd=directory,
        env=variables,
    ) as running:
        os.close(there)
        try:
            shell = TypedShell(here, home / "line")
            shell.wait_for_prompt()
            yield shell
        finally:
            os.close(here)  # the terminal hangs up, which ends the shell
            running.wait(timeout=_SECONDS)
