"""Under which conditions a part was measured: the machine, the programs, the rounds."""

from __future__ import annotations

import datetime as dt
import os
import platform
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Self

from benchmarks.peers import cpu_model, versions


@dataclass(frozen=True, slots=True)
class Machine:
    """What was measured on, and with which programs."""

    processors: int
    processor: str
    kernel: str
    memory_bytes: int
    disk: str
    """File system, and device, of the directory that was measured in."""
    versions: Mapping[str, str] = field(default_factory=dict)
    congestion_control: str = ""
    """Of TCP, over loopback."""

    @classmethod
    def this(cls, directory: Path, more_versions: Mapping[str, str], control: str) -> Self:
        """Return this machine; ``directory`` is on the disk that is used, ``control`` the congestion control."""
        pages, size = os.sysconf("SC_PHYS_PAGES"), os.sysconf("SC_PAGE_SIZE")
        programs = {"Python": platform.python_version(), **versions(), **more_versions}
        return cls(
            os.cpu_count() or 0, cpu_model(), platform.release(), pages * size, _disk(directory), programs, control
        )

    def joined(self, other: Machine) -> Machine | None:
        """Return it with the programs of both; None where ``other`` is another machine, or has another version."""
        both = {**self.versions, **other.versions}
        if replace(self, versions=both) != replace(other, versions={**other.versions, **self.versions}):
            return None
        return replace(self, versions=both)

    def __str__(self) -> str:
        programs = ", ".join(f"{name} {version}" for name, version in self.versions.items())
        return (
            f"{self.processors} processors ({self.processor}), {self.memory_bytes / 2**30:.0f} GiB of memory, "
            f"{self.disk}, Linux {self.kernel} with TCP {self.congestion_control}; {programs}"
        )


@dataclass(frozen=True, slots=True)
class Conditions:
    """How and when one part was measured last."""

    date: str
    command: str
    models: Sequence[str]
    rounds: int
    quick: bool
    seconds: float
    """That the part took."""
    load_before: float
    """Of others, on all processors together."""
    machine: Machine

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> Self:
        return cls(**{**content, "machine": Machine(**content["machine"])})


def today() -> str:
    return dt.datetime.now(tz=dt.UTC).date().isoformat()


def _disk(directory: Path) -> str:
    found = subprocess.run(
        ["findmnt", "--noheadings", "--output", "FSTYPE,SOURCE", "--target", str(directory)],
        stdout=subprocess.PIPE,
        text=True,
        check=False,
    )
    return " on ".join(found.stdout.split()[:2]) or "an unknown disk"
