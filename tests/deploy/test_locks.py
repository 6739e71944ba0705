"""The lock files say what `pyproject.toml` asks for, and nothing of the machine that wrote them."""

import re
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

_REPOSITORY = Path(__file__).parents[2]
_RUNTIME, _ALL, _DEV = "requirements.lock", "requirements-all.lock", "requirements-dev.lock"
_ENTRY = re.compile(
    r"^([A-Za-z0-9._-]+)==(\S+)(?: ; [^\\]*)? \\((?:\n    --hash=sha256:[0-9a-f]{64}(?: \\)?)+)$",
    re.MULTILINE,
)
_PROJECT = tomllib.loads((_REPOSITORY / "pyproject.toml").read_text())


def _pins(lock: str) -> dict[str, str]:
    """Return the version by name of every entry that has hashes."""
    return {match[1]: match[2] for match in _ENTRY.finditer((_REPOSITORY / lock).read_text())}


@pytest.mark.parametrize(
    ("lock", "asked"),
    [
        (_RUNTIME, _PROJECT["project"]["dependencies"]),
        (
            _ALL,
            [one for extra in _PROJECT["project"]["optional-dependencies"].values() for one in extra],
        ),
        (_DEV, [*_PROJECT["project"]["dependencies"], *_PROJECT["dependency-groups"]["dev"]]),
    ],
)
def test_a_lock_pins_all_that_the_project_asks_for(lock: str, asked: list[str]) -> None:
    pins = _pins(lock)
    for requirement in map(Requirement, asked):
        pinned = pins.get(canonicalize_name(requirement.name))
        assert pinned, f"{lock} lacks {requirement}: run make lock"
        assert requirement.specifier.contains(pinned), f"{lock} has {pinned}, not {requirement}: run make lock"


@pytest.mark.parametrize("lock", [_RUNTIME, _ALL, _DEV])
def test_a_lock_is_nothing_but_pins_with_hashes(lock: str) -> None:
    assert _ENTRY.sub("", (_REPOSITORY / lock).read_text()).strip() == ""


@pytest.mark.parametrize("lock", [_RUNTIME, _ALL])
def test_what_runs_is_what_was_tested(lock: str) -> None:
    tested = _pins(_DEV)
    assert {name: tested.get(name) for name in _pins(lock)} == _pins(lock)
