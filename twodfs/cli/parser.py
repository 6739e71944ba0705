"""The command line of one command: declared as for argparse, read and explained.

Options and arguments may come in any order, ``--`` ends the options, and options are never abbreviated;
``-f FILE``, ``-fFILE``, ``--file FILE`` and ``--file=FILE`` are the same. A value may begin with a dash as long
as it is none of the options.

argparse declares and converts. Before it reads, words are brought into the one order that every release of it
reads alike: on its own it gives ``REF... -q REF`` and ``-p -dash`` up, and its messages differ from one Python
to the next.
"""

from __future__ import annotations

from argparse import Action, ArgumentError, ArgumentParser, ArgumentTypeError, HelpFormatter, Namespace
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import Any, Final, NoReturn

from twodfs.errors import UsageError

END: Final = "--"
HELP: Final = ("--help", "-h")

MANY: Final = ("+", "*")


class CommandParser(ArgumentParser):
    """The options and arguments of one command.

    Attributes:
        declared: all of them, in their order.
        listed_by: commands that print the possible values, by the names of the attributes that they go to.
    """

    def __init__(self, name: str, text: str) -> None:
        """Begin without any.

        Args:
            name: how the command is called, as ``twodfs push``.
            text: its help; see ``twodfs.cli.help.page``.
        """
        self.declared: list[Action] = []
        self.listed_by: dict[str, str] = {}
        self._options: dict[str, Action] = {}
        super().__init__(
            name,
            description=text,
            formatter_class=partial(HelpFormatter, width=100),  # else it imports the code that asks the terminal
            add_help=False,
            allow_abbrev=False,
            exit_on_error=False,
        )
        self.register("type", None, _text)

    def add_argument(self, *names: Any, **what: Any) -> Action:
        """Declare an option or argument, as ``ArgumentParser.add_argument`` does."""
        action = super().add_argument(*names, **what)
        self.declared.append(action)
        self._options.update(dict.fromkeys(action.option_strings, action))
        return action

    def list_with(self, action: Action, command: str) -> None:
        """Let shells complete values: the first word of each line that ``command`` of this program prints."""
        self.listed_by[action.dest] = command

    def add_flag(self, *names: str, text: str) -> None:
        """Declare an option without a value."""
        self.add_argument(*names, action="store_true", help=text)

    def read(self, words: Iterable[str], into: Namespace | None = None) -> Namespace:
        """Return the values of ``words`` and, of those left out, their values in ``into``, else the default.

        Raises:
            UsageError: they are wrong; the sentence says how, and where to read on.
        """
        with self._advice():
            return self._read(*self._sorted(iter(words)), into)

    def read_front(self, words: Iterator[str]) -> tuple[Namespace, str | None]:
        """Return the values of the options in front of the first other word, and that word; the rest is left.

        Raises:
            UsageError: as ``read``.
        """
        with self._advice():
            options, places = self._sorted(words, most=1)
            return self._read(options, []), places[0] if places else None

    def error(self, message: str) -> NoReturn:
        """Raise ``UsageError`` where argparse ends the process."""
        raise UsageError(message)

    def format_help(self) -> str:
        """Return the page that ``--help`` shows."""
        from twodfs.cli.help import explained  # noqa: PLC0415 - most runs need none

        return explained(self.prog, self.description or "", self.declared)

    @contextmanager
    def _advice(self) -> Iterator[None]:
        try:
            yield
        except UsageError as error:
            raise UsageError(f"{error}; '{self.prog} --help' explains") from None

    def _sorted(self, words: Iterator[str], most: int | None = None) -> tuple[list[str], list[str]]:
        """Return the options, each in a word with its value, and the other words, ``most`` of them."""
        options: list[str] = []
        places: list[str] = []
        for word in words:
            if word == END and most is None:
                places += words
            elif word.startswith("--"):
                options.append(self._long(word, words))
            elif word.startswith("-") and word != "-":
                options += self._short(word, words)
            else:
                places.append(word)
            if len(places) == most:
                break
        return options, places

    def _long(self, word: str, words: Iterator[str]) -> str:
        name, equals, value = word.partition("=")
        action = self._option(name)
        if equals and is_flag(action):
            raise UsageError(f"{name} takes no value")
        return _valued(name, value) if equals else self._with_value(name, action, words)

    def _short(self, word: str, words: Iterator[str]) -> Iterator[str]:
        """Yield one-letter options: flags, and at the end one with a value."""
        for at, letter in enumerate(word[1:], start=2):
            action = self._option(f"-{letter}")
            if not is_flag(action) and word[at:]:
                yield _valued(name_of(action), word[at:])
                return
            yield self._with_value(f"-{letter}", action, words)

    def _option(self, name: str) -> Action:
        if name not in self._options:
            raise UsageError(f"there is no option {name}{nearest(name, self._options)}")
        return self._options[name]

    def _with_value(self, name: str, action: Action, words: Iterator[str]) -> str:
        if is_flag(action):
            return name
        value = next(words, END)
        if value.partition("=")[0] in self._options:
            raise UsageError(f"{name} takes a value")
        return _valued(name_of(action), value, called=name)

    def _read(self, options: Sequence[str], places: Sequence[str], into: Namespace | None = None) -> Namespace:
        self._check_places(places)
        given = {id(self._options[one.partition("=")[0]]) for one in options}
        missing = [
            name_of(one) for one in self.declared if one.option_strings and one.required and id(one) not in given
        ]
        expected = [one for one in self.declared if not one.option_strings and one.required]
        missing = [name_of(one) for one in expected[len(places) :]] + missing
        if missing:
            raise UsageError(f"missing: {', '.join(missing)}")
        try:
            return self.parse_args([*options, *([END, *places] if places else [])], into)
        except ArgumentError as error:
            # Its name is that of all spellings: --file/-f.
            raise UsageError(f"{(error.argument_name or '').partition('/')[0]} {error.message}") from None

    def _check_places(self, places: Sequence[str]) -> None:
        declared = [one for one in self.declared if not one.option_strings]
        room = len(places) if any(one.nargs in MANY for one in declared) else len(declared)
        stray = [*places[room:], *(one for one in places if one == END)]
        if stray:
            raise UsageError(f"there is no place for {stray[0]!r}")


def is_flag(action: Action) -> bool:
    """Return whether an option takes no value."""
    return action.nargs == 0


def name_of(action: Action) -> str:
    """Return the name of an option or an argument in errors."""
    return action.option_strings[0] if action.option_strings else str(action.metavar)


def nearest(name: str, names: Iterable[str]) -> str:
    """Return a question for the one of ``names`` that ``name`` may have been meant to be; empty for none."""
    import difflib  # noqa: PLC0415 - for a mistake alone

    near = difflib.get_close_matches(name, names, n=1)
    return f", did you mean {near[0]}?" if near else ""


def file() -> dict[str, Any]:
    """Return how ``add_argument`` is told that a value is a file's path."""
    return {"type": _file, "metavar": "FILE"}


def one_of(kind: type[StrEnum]) -> dict[str, Any]:
    """Return how ``add_argument`` is told that a value is one of ``kind``."""

    def convert(text: str) -> StrEnum:
        if _text(text) not in kind.__members__.values():
            raise ArgumentTypeError(f"is {text!r}; expected {' or '.join(kind)}")
        return kind(text)

    return {"type": convert, "choices": list(kind), "metavar": "|".join(kind)}


def whole_number(least: int | None = None, most: int | None = None) -> dict[str, Any]:
    """Return how ``add_argument`` is told that a value is a number from ``least`` to ``most``."""

    def convert(text: str) -> int:
        if not (_text(text).isascii() and text.removeprefix("-").isdecimal()):
            raise ArgumentTypeError(f"is {text!r}; expected a whole number")
        number = int(text)
        if (least is not None and number < least) or (most is not None and number > most):
            raise ArgumentTypeError(f"is {number}; expected {least}..{most}")
        return number

    return {"type": convert, "metavar": "NUMBER" if most is None else f"{least}..{most}"}


def takes_file(action: Action) -> bool:
    """Return whether a value is a file's path."""
    return action.type is _file


def _text(text: str) -> str:
    if not text:
        raise ArgumentTypeError("is empty")
    return text


def _file(text: str) -> Path:
    return Path(_text(text))


def _valued(name: str, value: str, *, called: str = "") -> str:
    if value == END:  # argparse takes it for the end of options even there
        raise UsageError(f"{called or name} takes a value")
    return f"{name}={value}"
