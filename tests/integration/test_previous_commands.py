"""Configurations and command lines of the previous release mean the same today.

How it was recorded: `tests/fixtures/previous-release/README.md`.
"""

import re
from pathlib import Path
from typing import Any

import pytest

from tests.lab.peers import require
from tests.lab.recorded_release import command_lines, settings
from tests.lab.recorded_release.content import FIXTURES, Release, recorded

Json = dict[str, Any]
TODAY = Release()


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("settings")
    settings.prepare(directory)
    return directory


def assert_includes(now: Any, before: Any, path: str = "") -> None:
    """Look for each setting in what is printed today; there may be more of them."""
    if isinstance(before, dict):
        for name, one in before.items():
            assert name in now, f"{path}{name}"
            assert_includes(now[name], one, f"{path}{name}.")
    elif isinstance(before, list) and isinstance(now, list) and len(now) == len(before):
        for at, (one, was) in enumerate(zip(now, before, strict=True)):
            assert_includes(one, was, f"{path}{at}.")
    else:
        assert now == before, path


@pytest.mark.parametrize("name", settings.CASES)
def test_a_configuration_file_means_the_same(name: str, files: Path) -> None:
    toml = (FIXTURES / f"{name}.toml").read_text()
    assert_includes(settings.shown(files, TODAY, toml, {}), recorded("settings")[name])


@pytest.mark.parametrize("name", settings.CASES)
def test_variables_of_the_environment_mean_the_same(name: str, files: Path) -> None:
    variables = settings.as_variables((FIXTURES / f"{name}.toml").read_text())
    assert_includes(settings.shown(files, TODAY, None, variables), recorded("settings")[name])


def test_the_configurations_use_every_setting() -> None:
    shown = {name: dict(settings.leaves(one)) for name, one in recorded("settings").items()}
    defaults = shown.pop("nothing")
    assert len(defaults) == 82
    assert not [path for path, value in defaults.items() if all(one[path] == value for one in shown.values())]


@pytest.fixture(scope="module")
def lines(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Json]:
    require("docker-registry")
    with command_lines.place(tmp_path_factory.mktemp("lines"), TODAY, recorded("registry")) as place:
        return {one["line"]: place.run(one["line"]) for one in recorded("command-lines")}


@pytest.mark.parametrize("before", recorded("command-lines"), ids=lambda one: one["line"])
def test_a_command_line_does_the_same(before: Json, lines: dict[str, Json]) -> None:
    if re.search("--check-config|inspect.* --json", before["line"]):  # there may be more members
        assert_includes(lines[before["line"]], before)
    else:
        assert lines[before["line"]] == before


def test_the_command_lines_use_every_option() -> None:
    used = command_lines.used(one["line"] for one in recorded("command-lines"))
    for command, options in recorded("options").items():
        assert {*options} - used[command] <= {"-h", "--help"}, command


@pytest.mark.parametrize("command", recorded("options"))
def test_help_lists_every_option_of_before(command: str) -> None:
    assert {*recorded("options")[command]} <= {*command_lines.listed(TODAY, command)}
