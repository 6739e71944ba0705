from collections.abc import Callable
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import pytest

from twodfs.cli.arguments import Argument, Commands, Option
from twodfs.errors import UsageError


class Colour(StrEnum):
    RED = "red"
    BLUE = "blue"


Run = Callable[..., dict[str, Any]]


@pytest.fixture
def program(monkeypatch: pytest.MonkeyPatch) -> tuple[Commands, list[dict[str, Any]]]:
    monkeypatch.setenv("COLUMNS", "60")
    commands = Commands("lab", "Do things.\n\nExample:\n    lab paint house", "lab 1")
    ran: list[dict[str, Any]] = []

    @commands.add
    def paint(
        what: Annotated[str, Argument("WHAT", "What is painted.")],
        others: Annotated[list[str] | None, Argument("OTHERS...", "And what else.")] = None,
        *,
        colour: Annotated[Colour, Option(help="Which one, out of all that there are.")] = Colour.RED,
        plan: Annotated[Path | None, Option("--plan", "-p", help="Where it says how.")] = None,
        coats: Annotated[int, Option("--coats", min=1, max=9, help="How many.")] = 2,
        tag: Annotated[list[str] | None, Option("--tag", metavar="NAME", help="Its names.")] = None,
        quiet: Annotated[bool, Option("--quiet", "-q", help="Say nothing.")] = False,
        dry: Annotated[bool, Option("--dry", "-n", help="Do nothing.")] = False,
    ) -> None:
        """Paint things, one after the other.

        They had better be dry,
        and clean.

        Example:
            lab paint house --colour blue
        """
        ran.append(
            {
                "what": what,
                "others": others,
                "colour": colour,
                "plan": plan,
                "coats": coats,
                "tag": tag,
                "quiet": quiet,
                "dry": dry,
            }
        )

    @commands.add
    def must(*, key: Annotated[list[Path], Option("--key", help="A key.")]) -> None:
        """Need a key."""
        ran.append({"key": key})

    return commands, ran


@pytest.fixture
def run(program: tuple[Commands, list[dict[str, Any]]]) -> Run:
    commands, ran = program

    def run(*argv: str) -> dict[str, Any]:
        commands.run(argv)
        return ran.pop()

    return run


def test_what_is_left_out_has_its_default(run: Run) -> None:
    assert run("paint", "house") == {
        "what": "house",
        "others": None,
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
        "others": None,
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
        (("--verison",), "there is no option '--verison', did you mean --version?; 'lab --help' lists them"),
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
    ],
)
def test_a_mistake_is_told_with_what_would_be_right(run: Run, argv: tuple[str, ...], sentence: str) -> None:
    with pytest.raises(UsageError) as failed:
        run(*argv)
    assert str(failed.value).startswith(sentence)


@pytest.mark.parametrize("word", ["--help", "-h"])
def test_help_shows_what_is_declared(
    program: tuple[Commands, list[dict[str, Any]]], capsys: pytest.CaptureFixture[str], word: str
) -> None:
    program[0].run(["paint", "--no-such-option", word])
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
    program[0].run([word])
    assert capsys.readouterr().out == (
        "Usage: lab COMMAND [OPTIONS] ...\n\n"
        "Do things.\n\n"
        "Example:\n"
        "  lab paint house\n\n"
        "Commands:\n"
        "  paint  Paint things, one after the other.\n"
        "  must   Need a key.\n\n"
        "Options:\n"
        "  -h, --help  Show this.\n"
        "  --version   Print the version.\n"
    )
    assert not program[1]


def test_nothing_at_all_shows_help_and_is_a_mistake(
    program: tuple[Commands, list[dict[str, Any]]], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        program[0].run([])
    assert (ended.value.code, "Commands:" in capsys.readouterr().err) == (2, True)
    program[0].run(["--version"])
    assert capsys.readouterr().out == "lab 1\n"
