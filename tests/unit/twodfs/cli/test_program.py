import subprocess
import sys
from argparse import Namespace
from collections.abc import Callable
from enum import StrEnum
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from proxy.__main__ import PROGRAM as PROXY
from twodfs.cli import PROGRAM
from twodfs.cli.commands import COMMANDS
from twodfs.cli.parser import CommandParser, file, one_of, whole_number
from twodfs.cli.program import Command, Group, Program
from twodfs.errors import UsageError


class Colour(StrEnum):
    RED = "red"
    BLUE = "blue"


SOURCE = Path(__file__).parents[4]
Run = Callable[..., dict[str, Any]]
PAINT = """Paint things, one after the other.

They had better be dry,
and clean.

Example:
    lab paint house --colour blue
"""


def declare_paint(parser: CommandParser) -> None:
    parser.add_argument("what", metavar="WHAT", help="What is painted.")
    parser.add_argument("others", metavar="OTHERS...", nargs="*", default=None, help="And what else.")
    parser.add_argument("--colour", **one_of(Colour), default=Colour.RED, help="Which one, out of all that there are.")
    parser.add_argument("--plan", "-p", **file(), help="Where it says how.")
    parser.add_argument("--coats", **whole_number(1, 9), default=2, help="How many.")
    parser.add_argument("--tag", action="append", metavar="NAME", help="Its names.")
    parser.add_flag("--quiet", "-q", text="Say nothing.")
    parser.add_flag("--dry", "-n", text="Do nothing.")


def declare_must(parser: CommandParser) -> None:
    parser.add_argument("--key", **file(), action="append", required=True, help="A key.")


def declare_serve(parser: CommandParser) -> None:
    parser.add_argument("--at", metavar="HOST", help="Where.")
    parser.add_argument("--config", **file(), help="How.")


def declare_probe(parser: CommandParser) -> None:
    declare_serve(parser)
    parser.add_argument("--deep", **whole_number(), help="How deep.")


@pytest.fixture
def ran(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """Make the modules of the lab's commands; returns what they were run with."""
    monkeypatch.setenv("COLUMNS", "60")
    ran: list[dict[str, Any]] = []

    def run(arguments: Namespace) -> int:
        ran.append(vars(arguments))
        return 7

    for name, text, declare in (
        ("paint", PAINT, declare_paint),
        ("must", "Need a key.", declare_must),
        ("serve", "Serve.", declare_serve),
        ("probe", "Look.", declare_probe),
    ):
        module = ModuleType(f"lab_{name}", text)
        vars(module).update(declare=declare, run=run)
        monkeypatch.setitem(sys.modules, module.__name__, module)
    return ran


@pytest.fixture
def program() -> Program:
    table = {"paint": Command("lab_paint", "Paint things."), "must": Command("lab_must", "Need a key.")}
    return Program("lab", "Do things.\n\nExample:\n    lab paint house", "lab 1", table)


@pytest.fixture
def server() -> Program:
    return Program("labd", "Serve.", "labd 1", {"probe": Command("lab_probe", "Look.")}, default="lab_serve")


@pytest.fixture
def run(program: Program, ran: list[dict[str, Any]]) -> Run:
    def run(*argv: str) -> dict[str, Any]:
        assert program.run(argv) == 7
        return {name: value for name, value in ran.pop().items() if name not in {"program", "help", "version"}}

    return run


def test_what_is_left_out_has_its_default(run: Run) -> None:
    assert run("paint", "house") == {
        "what": "house",
        "others": [],
        "colour": Colour.RED,
        "plan": None,
        "coats": 2,
        "tag": None,
        "quiet": False,
        "dry": False,
    }


@pytest.mark.parametrize(
    "argv",
    [
        ("--plan", "a b", "house", "-qn", "--tag", "x", "--tag=y", "--coats", "3", "--colour=blue"),
        ("house", "-p", "a b", "-q", "-n", "--tag=x", "--tag", "y", "--coats=3", "--colour", "blue"),
        ("house", "-qnpa b", "--tag", "x", "--tag", "y", "--coats", "9", "--coats", "3", "--colour=blue"),
    ],
)
def test_options_are_spelled_as_everywhere(run: Run, argv: tuple[str, ...]) -> None:
    found = run("paint", *argv)
    assert found == {
        "what": "house",
        "others": [],
        "colour": Colour.BLUE,
        "plan": Path("a b"),
        "coats": 3,
        "tag": ["x", "y"],
        "quiet": True,
        "dry": True,
    }


def test_several_places_and_words_that_look_like_options(run: Run) -> None:
    found = run("paint", "-", "-p", "-dash", "--", "--help", "-q")
    assert (found["what"], found["others"], found["plan"]) == ("-", ["--help", "-q"], Path("-dash"))
    assert run("must", "--key", "a", "--key", "b") == {"key": [Path("a"), Path("b")]}


@pytest.mark.parametrize(
    ("argv", "sentence"),
    [
        (("pant",), "there is no command 'pant', did you mean paint?; 'lab --help' lists them"),
        (("--verison",), "there is no option --verison, did you mean --version?; 'lab --help' explains"),
        (("--quiet", "paint", "x"), "there is no option --quiet; 'lab --help' explains"),
        (("--", "paint", "x"), "there is no option --"),
        (("-", "paint", "x"), "there is no command '-'"),
        (("paint",), "missing: WHAT; 'lab paint --help' explains"),
        (("must",), "missing: --key; 'lab must --help' explains"),
        (("must", "--key", "k", "more"), "there is no place for 'more'; 'lab must --help' explains"),
        (("paint", "x", "--color", "blue"), "there is no option --color, did you mean --colour?;"),
        (("paint", "x", "-qx"), "there is no option -x;"),
        (("paint", "x", "--colour", "green"), "--colour is 'green'; expected red or blue;"),
        (("paint", "x", "--coats", "0"), "--coats is 0; expected 1..9;"),
        (("paint", "x", "--coats", "-1"), "--coats is -1; expected 1..9;"),
        (("paint", "x", "--coats", "two"), "--coats is 'two'; expected a whole number;"),
        (("paint", "x", "--plan"), "--plan takes a value;"),
        (("paint", "x", "--plan", "--dry"), "--plan takes a value;"),
        (("paint", "x", "-p"), "-p takes a value;"),
        (("paint", "x", "--dry=yes"), "--dry takes no value;"),
        (("paint", ""), "WHAT is empty;"),
        (("paint", "x", "--plan="), "--plan is empty;"),
        (("paint", "x", "--plan=--"), "--plan takes a value;"),
        (("paint", "x", "-p--"), "--plan takes a value;"),
        (("paint", "x", "-p", "--", "y"), "-p takes a value;"),
        (("paint", "x", "--", "y", "--"), "there is no place for '--';"),
        (("paint", "x", "--col", "blue"), "there is no option --col, did you mean --colour?;"),
    ],
)
def test_a_mistake_is_told_with_what_would_be_right(run: Run, argv: tuple[str, ...], sentence: str) -> None:
    with pytest.raises(UsageError) as failed:
        run(*argv)
    assert str(failed.value).startswith(sentence)


def test_arguments_and_options_stand_in_any_order(run: Run) -> None:
    for argv in (("a", "-q", "b", "c", "--dry"), ("-q", "a", "b", "--dry", "c"), ("a", "b", "-qn", "--", "c")):
        found = run("paint", *argv)
        assert (found["what"], found["others"], found["quiet"], found["dry"]) == ("a", ["b", "c"], True, True)
    # What getopt does with it: the equals sign belongs to the value.
    assert run("paint", "a", "-p=b")["plan"] == Path("=b")


@pytest.mark.parametrize("argv", [["paint", "--no-such-option", "--help"], ["paint", "-h"], ["paint", "x", "-qh"]])
def test_help_shows_what_is_declared(
    program: Program, ran: list[dict[str, Any]], capsys: pytest.CaptureFixture[str], argv: list[str]
) -> None:
    assert program.run(argv) == 0
    assert capsys.readouterr().out == (
        "Usage: lab paint [OPTIONS] WHAT [OTHERS...]\n\n"
        "Paint things, one after the other.\n\n"
        "They had better be dry, and clean.\n\n"
        "Example:\n"
        "  lab paint house --colour blue\n\n"
        "Arguments:\n"
        "  WHAT       What is painted.\n"
        "  OTHERS...  And what else.\n\n"
        "Options:\n"
        "      --colour red|blue  Which one, out of all that there\n"
        "                         are. [default: red]\n"
        "  -p, --plan FILE        Where it says how.\n"
        "      --coats 1..9       How many. [default: 2]\n"
        "      --tag NAME         Its names.\n"
        "  -q, --quiet            Say nothing.\n"
        "  -n, --dry              Do nothing.\n"
        "  -h, --help             Show this.\n"
    )
    assert not ran


@pytest.mark.parametrize("word", ["--help", "-h"])
def test_help_of_the_program_lists_its_commands_and_imports_none(
    program: Program, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], word: str
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    assert program.run([word, "nonsense"]) == 0
    assert capsys.readouterr().out == (
        "Usage: lab COMMAND [OPTIONS] ...\n\n"
        "Do things.\n\n"
        "Example:\n"
        "  lab paint house\n\n"
        "Commands:\n"
        "  paint       Paint things.\n"
        "  must        Need a key.\n"
        "  completion  Print a script that completes command lines in bash, zsh or fish.\n\n"
        "Options:\n"
        "      --version  Print the version.\n"
        "  -h, --help     Show this.\n"
    )
    with pytest.raises(ModuleNotFoundError):  # as it is where nobody made it
        import_module("lab_paint")


def test_nothing_at_all_shows_help_and_is_a_mistake(program: Program, capsys: pytest.CaptureFixture[str]) -> None:
    assert program.run([]) == 2
    assert "Commands:" in capsys.readouterr().err
    assert program.run(["--version"]) == 0
    assert capsys.readouterr().out == "lab 1\n"


def test_a_command_that_runs_without_a_name(
    server: Program, ran: list[dict[str, Any]], capsys: pytest.CaptureFixture[str]
) -> None:
    assert server.run([]) == 7
    assert ran.pop()["at"] is None
    assert server.run(["--at", "probe", "--config=a"]) == 7
    found = ran.pop()
    assert (found["at"], found["config"]) == ("probe", Path("a"))
    assert server.run(["--at", "here", "--version"]) == 0
    assert server.run(["--help", "probe"]) == 0
    shown = capsys.readouterr().out
    assert shown.startswith("labd 1\nUsage: labd [COMMAND] [OPTIONS] ...\n")
    assert "--at HOST" in shown
    assert "--deep" not in shown
    for argv, sentence in (
        (["--deep", "3"], "there is no option --deep, did you mean --help?; 'labd --help' explains"),
        (["prob"], "there is no command 'prob', did you mean probe?; 'labd --help' lists them"),
        (["probe", "here"], "there is no place for 'here'; 'labd probe --help' explains"),
    ):
        with pytest.raises(UsageError) as failed:
            server.run(argv)
        assert str(failed.value) == sentence
    assert not ran


def test_options_in_front_of_a_commands_name_count_and_those_behind_it_win(
    server: Program, ran: list[dict[str, Any]], capsys: pytest.CaptureFixture[str]
) -> None:
    assert server.run(["--at", "here", "--config", "a", "probe", "--deep", "3", "--config", "b"]) == 7
    found = ran.pop()
    assert (found["at"], found["config"], found["deep"]) == ("here", Path("b"), 3)
    assert server.run(["--at", "here", "probe", "--help"]) == 0
    assert capsys.readouterr().out.startswith("Usage: labd probe [OPTIONS]\n")
    assert not ran


def test_commands_under_a_common_word(
    ran: list[dict[str, Any]], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "60")
    walls = Group("Do things to walls.\n\nWith care.", {"paint": Command("lab_paint", "Paint things.")})
    program = Program("lab", "Do things.", "lab 1", {"walls": walls})
    assert list(program.commands) == ["walls paint", "completion"]
    assert program.run(["walls", "paint", "house", "-q"]) == 7
    assert ran.pop()["what"] == "house"
    assert program.run(["walls", "--help"]) == 0
    page = capsys.readouterr().out
    assert page.startswith("Usage: lab walls COMMAND [OPTIONS] ...\n\nDo things to walls.")
    assert "  paint  Paint things." in page
    assert program.run(["walls", "paint", "--help"]) == 0
    assert capsys.readouterr().out.startswith("Usage: lab walls paint [OPTIONS]")
    assert program.run(["--help"]) == 0
    assert "  walls       Do things to walls." in capsys.readouterr().out
    assert program.run(["walls"]) == 2
    assert "paint" in capsys.readouterr().err
    with pytest.raises(UsageError, match=r"no command 'pain', did you mean paint\?; 'lab walls --help' lists them"):
        program.run(["walls", "pain"])
    with pytest.raises(UsageError, match="'lab walls --help' explains"):
        program.run(["walls", "--dry", "paint"])
    assert not ran


@pytest.mark.parametrize("program", [PROGRAM, PROXY], ids=lambda one: one.name)
def test_the_table_says_of_each_command_what_its_help_begins_with(program: Program) -> None:
    for command in program.commands.values():
        first = (import_module(command.module).__doc__ or "").partition("\n\n")[0]
        assert " ".join(first.split()) == command.summary


def loaded(module: str, *argv: str) -> set[str]:
    """Return the modules that a command line has loaded in the end."""
    program = (
        f"import sys, runpy; sys.argv = [{module!r}, *sys.argv[1:]]\n"
        f"try:\n    runpy.run_module({module!r}, run_name='__main__')\n"
        "finally:\n    print(*sys.modules, file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, *argv], capture_output=True, text=True, check=True, cwd=SOURCE
    )
    assert done.stdout
    return set(done.stderr.split())


HEAVY = {"aiohttp", "asyncio", "pydantic", "rich", "orjson", "structlog", "hashlib", "sqlite3", "ssl", "redis"}

GROUP = {"proxy.cache", "proxy.cache.commands"}


@pytest.mark.parametrize(
    ("argv", "own"),
    [
        (("twodfs", "--help"), set()),
        (("twodfs", "build", "--help"), {"twodfs.cli.commands.build"}),
        (("twodfs", "verify", "--help"), {"twodfs.cli.commands.verify"}),
        (("twodfs", "completion", "bash"), {f"twodfs.cli.commands.{one}" for one in COMMANDS}),
        (("proxy", "--help"), {"proxy.serve", *GROUP}),
        (
            ("proxy", "doctor", "--help"),
            {"proxy.serve", "proxy.doctor.command", "proxy.doctor", "proxy.doctor.finding", *GROUP},
        ),
        (("proxy", "cache", "--help"), {"proxy.serve", *GROUP}),
        (("proxy", "cache", "ls", "--help"), {"proxy.serve", *GROUP, "proxy.cache.commands.ls", "proxy.cache.options"}),
    ],
)
def test_help_and_completion_load_what_they_show_and_nothing_that_works(argv: tuple[str, ...], own: set[str]) -> None:
    found = loaded(*argv)
    assert not found & HEAVY
    commands = {one for one in found if one.startswith(("twodfs.cli.commands.", "proxy."))}
    assert commands == own


def test_a_command_loads_itself_and_no_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TWODFS_STORE", str(tmp_path))
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
    found = loaded("twodfs", "logout", "registry.example.com")
    assert {one for one in found if one.startswith("twodfs.cli.commands.")} == {"twodfs.cli.commands.logout"}
    assert "twodfs.credentials.login" in found
