"""`docs/compatibility.md`: written from a run, and read to be held against the next.

What counts is whether a program does what it is said to do. Versions are those of the run that wrote the
page: Debian's newest release moves on, and a new version that does the same leaves the page true.
"""

import re
import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from tests.integration.todays.check import Check
from tests.integration.todays.known import KNOWN
from tests.lab.todays_root import TodaysRoot

FILE: Final = Path(__file__).parents[3] / "docs" / "compatibility.md"
WORKS: Final = "works"
_WIDTH: Final = 120

_ROW: Final = re.compile(r"\| (?P<program>[^|]+) \| [^|]+ \| (?P<does>[^|]+) \| (?P<result>[^|]+) \|")
_PACKAGES: Final = {"Docker": "docker.io", "buildx": "docker-buildx"}
_TABLE: Final = """\
| program | version | what it does with partitions | result |
|---|---|---|---|
"""


def ordered(checks: Sequence[Check]) -> list[Check]:
    """Return the checks with those of a package together, and in there those of a program."""
    packages = list(dict.fromkeys(_package(one) for one in checks))
    programs = list(dict.fromkeys(one.program for one in checks))
    return sorted(checks, key=lambda one: (packages.index(_package(one)), programs.index(one.program)))


def result(check: Check) -> str:
    """Return what the page says of a check that went as expected."""
    return f"no [{reasons().index(KNOWN[check.title].reason) + 1}]" if check.title in KNOWN else WORKS


def said() -> dict[str, str]:
    """Return the results that the page has, by the checks' titles."""
    rows = _ROW.finditer(_text()[1])
    return {f"{row['program']}: {row['does']}": row["result"] for row in rows}


def reasons_said() -> list[str]:
    """Return the reasons that the page gives, in their order."""
    notes = re.split(r"^\d+\. ", _text()[1], flags=re.MULTILINE)[1:]
    return [" ".join(one.split()) for one in notes]


def reasons() -> list[str]:
    """Return the reasons that the page should give."""
    return list(dict.fromkeys(one.reason for one in KNOWN.values()))


def write(checks: Sequence[Check], root: TodaysRoot) -> None:
    """Write the table anew; what stands above it is written by hand."""
    versions = _versions(checks, root)
    rows = (f"| {one.program} | {versions[_package(one)]} | {one.does} | {result(one)} |\n" for one in checks)
    notes = (_wrapped(f"{at}. {reason}") for at, reason in enumerate(reasons(), start=1))
    FILE.write_text(f"{_text()[0]}{_TABLE}{''.join(rows)}\n{''.join(notes)}", encoding="utf-8")


def _wrapped(note: str) -> str:
    return textwrap.fill(note, _WIDTH, subsequent_indent="   ", break_on_hyphens=False) + "\n"


def _text() -> tuple[str, str]:
    """Return what stands above the table, and the rest."""
    above, table, below = FILE.read_text(encoding="utf-8").partition(_TABLE)
    assert table
    return above, below


def _package(check: Check) -> str:
    word = re.split("[ ,]", check.program)[0]
    return _PACKAGES.get(word, word)


def _versions(checks: Sequence[Check], root: TodaysRoot) -> Mapping[str, str]:
    """Return the programs' own versions by package: Debian's, without what Debian adds to them."""
    packages = sorted({_package(one) for one in checks})
    told = root.run("dpkg-query", "--show", "--showformat", "${Package} ${Version}\\n", *packages)
    pairs = (line.split(" ") for line in told.splitlines())
    return {package: re.split("[+~-]", version.rpartition(":")[2])[0] for package, version in pairs}
