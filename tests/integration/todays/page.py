"""`docs/compatibility.md`: written from a run, and read to be held against the next.

What counts is whether a program does what it is said to do. Versions are those of the run that wrote the page:
Debian's newest release moves on, and a new version that does the same leaves the page true.
"""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from tests.integration.todays.check import Check
from tests.integration.todays.known import KNOWN
from tests.lab.todays_root import TodaysRoot

FILE: Final = Path(__file__).parents[3] / "docs" / "compatibility.md"
WORKS: Final = "works"

_ROW: Final = re.compile(r"^\| (?P<program>[^|]+) \| [^|]+ \| (?P<does>[^|]+) \| (?P<result>[^|]+) \|$", re.MULTILINE)
_PACKAGES: Final = {"Docker": "docker.io", "buildx": "docker-buildx"}
_HEAD: Final = """\
# What today's engines and tools do

Every row is a test: the program as Debian's newest release has it, through the proxy, which signs what it cuts, in front of
Debian's `docker-registry`. Files that were pulled are compared byte for byte with what was built. The image has nine
allotments and two platforms, and was built by `twodfs`. Debian 12's engines (Docker 20.10, containerd 1.6, podman 4.3, skopeo
1.9) run the tests in `tests/integration/test_engine_pulls.py`.

"Pulls" are: by tag (`v1--0.0.0.1`), a chain (`v1--0.2.0.2--2.0.2.1`), a named partition (`v1--edge`), a pinned digest, and
another platform (`linux/arm64`). "The whole image" is the plain tag, `v1`.

<!-- Written by `make compatibility-docs`, from the tests in tests/integration/test_todays_engines.py; do not edit below. -->

| program | version | what it does with partitions | result |
|---|---|---|---|
"""


def result(check: Check) -> str:
    """Return what the page says of a check that went as expected."""
    return f"no [{reasons().index(KNOWN[check.title]) + 1}]" if check.title in KNOWN else WORKS


def said() -> dict[str, str]:
    """Return the results that the page has, by the checks' titles."""
    text = FILE.read_text(encoding="utf-8").partition("|---|---|---|---|\n")[2]
    return {f"{row['program']}: {row['does']}": row["result"] for row in _ROW.finditer(text)}


def reasons_said() -> list[str]:
    """Return the reasons that the page gives, in their order."""
    text = FILE.read_text(encoding="utf-8").rpartition(" |\n")[2]
    return [" ".join(one.split()) for one in re.split(r"^\d+\. ", text, flags=re.MULTILINE)[1:]]


def reasons() -> list[str]:
    """Return the reasons that the page should give."""
    return list(dict.fromkeys(KNOWN.values()))


def write(checks: Sequence[Check], root: TodaysRoot) -> None:
    versions = _versions(checks, root)
    rows = (f"| {one.program} | {versions[_package(one)]} | {one.does} | {result(one)} |\n" for one in checks)
    notes = (f"{at}. {reason}\n" for at, reason in enumerate(reasons(), start=1))
    FILE.write_text(f"{_HEAD}{''.join(rows)}\n{''.join(notes)}", encoding="utf-8")


def _package(check: Check) -> str:
    word = re.split("[ ,]", check.program)[0]
    return _PACKAGES.get(word, word)


def _versions(checks: Sequence[Check], root: TodaysRoot) -> Mapping[str, str]:
    """Return the programs' own versions by package: Debian's, without what Debian adds to them."""
    packages = sorted({_package(one) for one in checks})
    told = root.run("dpkg-query", "--show", "--showformat", "${Package} ${Version}\\n", *packages)
    pairs = (line.split(" ") for line in told.splitlines())
    return {package: re.split("[+~-]", version.rpartition(":")[2])[0] for package, version in pairs}
