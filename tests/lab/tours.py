"""Tours of pages: their commands, run one after the other in one shell, beside what the page says that they print."""

import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from tests.lab.process import free_port
from tests.lab.programs import environment, search_path

_BLOCK = re.compile(r"^```(?P<language>\w*)\n(?P<block>.*?)^```$|^#+ (?P<heading>.*?)$", re.MULTILINE | re.DOTALL)
# A command begins with the prompt, goes on while its lines end in a backslash, and what else there is, is printed.
_COMMAND = re.compile(r"^\$ ((?:.*\\\n)*.*)\n((?:(?!\$ ).*\n)*)", re.MULTILINE)
_ELLIPSIS = "…"


@dataclass(frozen=True, slots=True)
class Step:
    """A command of a page, or a block without prompts, which is run as a whole.

    Attributes:
        section: the heading above it.
        command: for the shell.
        shown: what the page says that it prints; empty where it says nothing.
    """

    section: str
    command: str
    shown: str = ""


@dataclass(frozen=True, slots=True)
class Walked:
    """A step that was gone: its exit status, and what it printed, errors as well."""

    step: Step
    status: int
    printed: str

    @property
    def is_as_shown(self) -> bool:
        """Whether it printed what the page shows; in a word ``…`` is any letters, alone any words; lines may break."""
        pattern = ""
        for word in self.step.shown.split():
            pattern += r"(?:\S+ )*" if word == _ELLIPSIS else r"\S*".join(map(re.escape, word.split(_ELLIPSIS))) + " "
        return re.fullmatch(pattern, "".join(f"{word} " for word in self.printed.split())) is not None


def steps(page: str) -> Iterator[Step]:
    """Yield the steps of a page, or of a part of one, from above to below."""
    section = ""
    for found in _BLOCK.finditer(page):
        if found["heading"]:
            section = found["heading"]
        elif not found["language"]:
            for command, shown in _COMMAND.findall(found["block"]) or [(found["block"], "")]:
                yield Step(section, command, shown)


def own_places(registry: Path) -> dict[str, str]:
    """Return free ports, and a directory for the registry, in the place of those that pages name."""
    admin = free_port()
    return {
        "twodfs-proxy --upstream": f"twodfs-proxy --admin 127.0.0.1:{admin} --upstream",
        "127.0.0.1:9464": f"127.0.0.1:{admin}",
        "127.0.0.1:5000": f"127.0.0.1:{free_port()}",
        "127.0.0.1:5001": f"127.0.0.1:{free_port()}",
        "/tmp/registry": str(registry),
    }


def walk(
    tour: Iterable[Step],
    directory: Path,
    *,
    places: Mapping[str, str],
    variables: Mapping[str, str] | None = None,
    before: Callable[[Step], str] = lambda _: "",
    after: Callable[[Step], str] = lambda _: "",
) -> list[Walked]:
    """Go a tour in a shell of its own, whose background jobs end with it.

    Args:
        tour: its steps.
        directory: where the shell begins.
        places: texts of the page, as addresses, and what stands in their place, in this order.
        variables: of the shell's environment.
        before: what the shell does in front of a step.
        after: what it waits for behind one, as people do without noticing.
    """

    def placed(text: str) -> str:
        for old, new in places.items():
            text = text.replace(old, new)
        return text

    gone = [Step(one.section, placed(one.command), placed(one.shown)) for one in tour]
    lines = ["trap 'kill $(jobs -p)' EXIT"]
    for at, one in enumerate(gone):
        lines += [placed(before(one)), f"echo '@@{at}'", one.command, 'echo "@@status $?"', placed(after(one))]
    done = subprocess.run(
        ("bash", "-c", "\n".join(lines)),
        cwd=directory,
        env={**environment(**(variables or {})), "PATH": f"{Path(sys.executable).parent}{os.pathsep}{search_path()}"},
        timeout=120,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    parts = re.findall(r"^@@\d+\n(.*?)@@status (\d+)$", done.stdout, re.MULTILINE | re.DOTALL)
    assert len(parts) == len(gone), done.stdout
    return [Walked(step, int(status), printed) for step, (printed, status) in zip(gone, parts, strict=True)]
