"""A machine on which nothing is installed but Debian's least, empty again each time.

`install-empty-debian.sh` makes its root once per machine. A test run never writes to it: what programs write
is in memory. The network is this machine's, and apt and pip are told what they are told here: the mirrors are
this machine's own.
"""

import ast
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Self

from tests.lab import command
from tests.lab.namespaces import LAB, Namespaces, first_process
from tests.lab.programs import environment, program
from tests.lab.roots import root_made_by

NAME = "empty-debian"

_FIRST_PROCESS = first_process(
    make="""
kept=$1 memory=$lab/memory; shift
mount -t tmpfs -o mode=755 tmpfs "$memory"
root=$memory/root
mkdir "$root" "$memory/upper" "$memory/work"
mount -t overlay -o "lowerdir=$kept,upperdir=$memory/upper,workdir=$memory/work" overlay "$root"
cp -L /etc/resolv.conf /etc/hosts "$root/etc/"
cp "$lab/apt.conf" "$root/etc/apt/apt.conf.d/90machine"
cp "$lab/pip.conf" "$root/etc/pip.conf"
""",
    # What this machine's configuration of pip names: pairs of places here and there.
    more="""
while [ $# -gt 0 ]; do
    mount --bind "$1" "$root/$2"
    mount -o remount,bind,ro "$root/$2"
    shift 2
done
""",
)
_SETTING = re.compile(r"^(?P<section>[\w:-]+)\.(?P<key>[\w-]+)=(?P<value>.*)$")


class EmptyDebian(Namespaces):
    """`with EmptyDebian.enter(directory) as machine: machine.shell("apt-get update")`."""

    @classmethod
    def enter(cls, directory: Path) -> Self:
        """Start with an empty machine; the directory is `/lab` in it."""
        kept = place()
        (directory / "memory").mkdir()
        (directory / "apt.conf").write_text("".join(_proxies_of_apt()))
        settings, mounts = _settings_of_pip(directory)
        (directory / "pip.conf").write_text(settings)
        machine = cls(directory, _FIRST_PROCESS, str(kept), *mounts)
        machine.launch()
        return machine

    def shell(self, script: str, *, directory: str = "/root", seconds: float = 300.0) -> str:
        """Return what the script prints; raises CommandError at the first of its commands that fails."""
        typed = f"cd {directory}\n{script}"
        argv = self.argv("/bin/bash", "-euo", "pipefail", "-c", typed)
        return command.run(argv, self._environment, seconds=seconds)


def place() -> Path:
    """Return where the root is; skips the test that is to do without it, fails it where nothing made it."""
    return root_made_by("install-empty-debian.sh", NAME, "an empty Debian is")


def _proxies_of_apt() -> Iterator[str]:
    """Yield this machine's settings of what apt goes through."""
    for line in command.run((program("apt-config"), "dump"), environment()).splitlines(keepends=True):
        if re.match(r"Acquire::https?::Proxy ", line):
            yield line


def _settings_of_pip(directory: Path) -> tuple[str, list[str]]:
    """Return this machine's configuration of pip for the root, and the mounts of the files that it names."""
    argv = (sys.executable, "-m", "pip", "config", "list")
    settings: dict[str, str] = {}
    mounts: list[str] = []
    for line in command.run(argv, environment()).splitlines():
        found = _SETTING.match(line)
        if found is None or found["section"] not in {"global", "install", ":env:"}:
            continue
        value = str(ast.literal_eval(found["value"]))
        if found["section"] == ":env:" or found["key"] not in settings:  # variables win
            settings[found["key"]] = " ".join(_words_there(value, directory, mounts))
    lines = "".join(f"{key} = {value}\n" for key, value in settings.items())
    return f"[global]\n{lines}", mounts


def _words_there(value: str, directory: Path, mounts: list[str]) -> Iterator[str]:
    """Yield the words of a value, paths as they are in the root."""
    for word in value.split():
        scheme = "file://" if word.startswith("file://") else ""
        here = Path(word.removeprefix(scheme))
        if not here.is_absolute() or not here.exists():
            yield word
            continue
        rest = ""
        if scheme:  # an index's links lead to files beside it
            here, rest = here.parent, f"/{here.name}"
        name = f"pip-{len(mounts) // 2}"
        place = directory / name
        if here.is_dir():
            place.mkdir()
        else:
            place.touch()
        mounts += [str(here), f"lab/{name}"]
        yield f"{scheme}{LAB}/{name}{rest}"
