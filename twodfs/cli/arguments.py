"""Commands and their arguments, declared once, read and explained.

A declaration is a function; ``Annotated`` holds what its parameters are on the command line, its docstring is
what ``--help`` says::

    @program.add
    def push(target: Annotated[str, Argument("TARGET", "An image.")], *,
             quiet: Annotated[bool, Option("--quiet", "-q", help="Show no progress.")] = False) -> None:

Types are ``str``, ``bool`` (a flag), ``int``, ``Path``, a ``StrEnum``, each or None, and lists of ``str`` and
``Path``. Options and arguments may come in any order; ``--`` ends the options; ``-f FILE``, ``-fFILE``,
``--file FILE`` and ``--file=FILE`` are the same.

Own code and no library: loading typer takes longer than all else that a short command does.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from types import NoneType
from typing import Annotated, Any, Final, TypeVar, get_args, get_origin, get_type_hints

from twodfs.errors import UsageError

F = TypeVar("F", bound=Callable[..., None])

VERSION: Final = "--version"
HELP: Final = ("--help", "-h")

_WIDEST: Final = 100
_END: Final = "--"


@dataclass(frozen=True, slots=True)
class Argument:
    """A positional argument, and what help calls it and says of it."""

    metavar: str
    help: str


@dataclass(frozen=True, slots=True, init=False)
class Option:
    """An option: its names, its help, what help calls its value, and the limits of a number."""

    names: tuple[str, ...]
    help: str
    metavar: str | None
    min: int | None
    max: int | None

    def __init__(
        self,
        *names: str,
        help: str,  # noqa: A002 - what it is
        metavar: str | None = None,
        min: int | None = None,  # noqa: A002
        max: int | None = None,  # noqa: A002
    ) -> None:
        for name, value in (
            ("names", names),
            ("help", help),
            ("metavar", metavar),
            ("min", min),
            ("max", max),
        ):
            object.__setattr__(self, name, value)


@dataclass(frozen=True, slots=True)
class _Parameter:
    name: str
    kind: type
    is_list: bool
    declared: Argument | Option
    default: Any
    is_required: bool

    @property
    def is_flag(self) -> bool:
        return self.kind is bool

    @property
    def names(self) -> tuple[str, ...]:
        """What an option is called on the command line."""
        if isinstance(self.declared, Argument):
            return ()
        return self.declared.names or (f"--{self.name.replace('_', '-')}",)

    @property
    def shown(self) -> str:
        """What errors call it."""
        return self.names[0] if self.names else self.declared.metavar or ""

    @property
    def value(self) -> str:
        """What help calls its value."""
        if self.declared.metavar is not None:
            return self.declared.metavar
        if issubclass(self.kind, StrEnum):
            return "|".join(self.kind)
        if isinstance(self.declared, Option) and self.declared.max is not None:
            return f"{self.declared.min}..{self.declared.max}"
        return {bool: "", int: "NUMBER", Path: "FILE"}.get(self.kind, "TEXT")

    def converted(self, text: str) -> Any:
        """Return ``text`` as a value; raises ``UsageError`` when it is none."""
        if not text:
            raise UsageError(f"{self.shown} is empty")
        if issubclass(self.kind, StrEnum):
            if text not in self.kind.__members__.values():
                raise UsageError(f"{self.shown} is {text!r}; expected {' or '.join(self.kind)}")
            return self.kind(text)
        if self.kind is int:
            return self._number(text)
        return Path(text) if self.kind is Path else text

    def _number(self, text: str) -> int:
        limits = self.declared
        least, most = (limits.min, limits.max) if isinstance(limits, Option) else (None, None)
        number = int(text) if text.isascii() and text.removeprefix("-").isdecimal() else None
        if number is None:
            raise UsageError(f"{self.shown} is {text!r}; expected a whole number")
        if (least is not None and number < least) or (most is not None and number > most):
            raise UsageError(f"{self.shown} is {number}; expected {least}..{most}")
        return number


class Commands:
    """The commands of a program."""

    def __init__(self, name: str, text: str, version: str) -> None:
        """Begin without any; ``text`` is what ``--help`` says."""
        self._name = name
        self._help = text
        self._version = version
        self._functions: dict[str, Callable[..., None]] = {}

    def add(self, function: F) -> F:
        """Make a command of ``function``, named like it."""
        self._functions[function.__name__] = function
        return function

    def run(self, argv: Sequence[str]) -> None:
        """Run the command that ``argv`` asks for, or print its help.

        Raises:
            UsageError: there is no such command, or it has no such arguments.
            SystemExit: it asks for nothing.
        """
        if not argv:
            print(self._overview(), file=sys.stderr)
            raise SystemExit(2)
        command, words = argv[0], argv[1:]
        if command == VERSION:
            print(self._version)
        elif command in HELP:
            print(self._overview())
        elif command not in self._functions:
            kind = "option" if command.startswith("-") else "command"
            hint = _hint(command, [*self._functions, VERSION, *HELP])
            raise UsageError(f"there is no {kind} {command!r}{hint}; '{self._name} --help' lists them")
        else:
            self._run(command, words)

    def _run(self, command: str, words: Sequence[str]) -> None:
        function = self._functions[command]
        parameters = _parameters(function)
        options = words[: words.index(_END)] if _END in words else words
        if any(word in HELP for word in options):
            print(self._explained(command, parameters))
            return
        try:
            values = _understood(parameters, words)
        except UsageError as error:
            raise UsageError(f"{error}; '{self._name} {command} --help' explains") from None
        function(**values)

    def _overview(self) -> str:
        from twodfs.cli.help import Table, page, summary  # noqa: PLC0415 - most runs need none

        commands = [(name, summary(one.__doc__ or "")) for name, one in self._functions.items()]
        options = [(", ".join(reversed(HELP)), "Show this."), (VERSION, "Print the version.")]
        tables = [Table("Commands", commands), Table("Options", options)]
        return page(f"{self._name} COMMAND [OPTIONS] ...", self._help, tables, _width())

    def _explained(self, command: str, parameters: Sequence[_Parameter]) -> str:
        from twodfs.cli.help import Table, page  # noqa: PLC0415 - see _overview

        places = [one for one in parameters if not one.names]
        options = [one for one in parameters if one.names]
        shown = [one.value if one.is_required else f"[{one.value}]" for one in places]
        tables = [
            Table("Arguments", [(one.value, _text(one)) for one in places]),
            Table("Options", [*((_spelled(one), _text(one)) for one in options), ("-h, --help", "Show this.")]),
        ]
        usage = " ".join((self._name, command, "[OPTIONS]", *shown))
        return page(usage, self._functions[command].__doc__ or "", tables, _width())


def _width() -> int:
    import shutil  # noqa: PLC0415 - see Commands._overview

    return min(shutil.get_terminal_size().columns, _WIDEST)


def _spelled(option: _Parameter) -> str:
    """Return an option's names, the short one first and in a column of its own."""
    names = ", ".join(sorted(option.names, key=len))
    indented = names if names[1] != "-" else f"    {names}"
    return f"{indented} {option.value}".rstrip()


def _text(one: _Parameter) -> str:
    if one.names and one.is_required:
        return f"{one.declared.help} [required]"
    is_shown = one.default is not None and not one.is_flag and one.default != ""
    return f"{one.declared.help} [default: {one.default}]" if is_shown else one.declared.help


def _parameters(function: Callable[..., None]) -> list[_Parameter]:
    code = function.__code__
    defaults = function.__defaults__ or ()
    places = code.co_varnames[code.co_argcount - len(defaults) : code.co_argcount]
    known = {**dict(zip(places, defaults, strict=True)), **(function.__kwdefaults__ or {})}
    found = []
    for name, annotation in get_type_hints(function, include_extras=True).items():
        if get_origin(annotation) is Annotated:
            kind, declared = get_args(annotation)[:2]
            (kind,) = [one for one in get_args(kind) if one is not NoneType] if _is_optional(kind) else [kind]
            is_list = get_origin(kind) is list
            kind = get_args(kind)[0] if is_list else kind
            found.append(_Parameter(name, kind, is_list, declared, known.get(name), name not in known))
    return found


def _is_optional(kind: Any) -> bool:
    return NoneType in get_args(kind)


def _understood(parameters: Sequence[_Parameter], argv: Sequence[str]) -> dict[str, Any]:
    """Return the arguments by their names, those that are left out with their default."""
    reading = _Reading(parameters)
    words = iter(argv)
    for word in words:
        if word == _END:
            for rest in words:
                reading.place(rest)
        elif word.startswith("--"):
            reading.long(word, words)
        elif word.startswith("-") and word != "-":
            reading.short(word, words)
        else:
            reading.place(word)
    return reading.values()


class _Reading:
    """A command line on its way to being values."""

    def __init__(self, parameters: Sequence[_Parameter]) -> None:
        self._parameters = parameters
        self._options = {name: one for one in parameters for name in one.names}
        self._places = [one for one in parameters if not one.names]
        self._values: dict[str, Any] = {}

    def place(self, word: str) -> None:
        """Take a positional argument."""
        if not self._places:
            raise UsageError(f"there is no place for {word!r}")
        place = self._places[0] if self._places[0].is_list else self._places.pop(0)
        self._take(place, word)

    def long(self, word: str, words: Iterator[str]) -> None:
        """Take an option, and its value from ``words`` where it is not behind an equals sign."""
        name, equals, value = word.partition("=")
        option = self._option(name)
        if option.is_flag and equals:
            raise UsageError(f"{name} takes no value")
        self._take(option, value if equals or option.is_flag else self._next(name, words))

    def short(self, word: str, words: Iterator[str]) -> None:
        """Take one-letter options: flags, and at the end one with a value."""
        for at, letter in enumerate(word[1:], start=2):
            option = self._option(f"-{letter}")
            if not option.is_flag:
                self._take(option, word[at:] or self._next(f"-{letter}", words))
                return
            self._take(option, "")

    def values(self) -> dict[str, Any]:
        """Return them; raises ``UsageError`` when one is missing."""
        missing = [one.shown for one in self._parameters if one.is_required and one.name not in self._values]
        if missing:
            raise UsageError(f"missing: {', '.join(missing)}")
        return self._values

    def _option(self, name: str) -> _Parameter:
        if name not in self._options:
            raise UsageError(f"there is no option {name}{_hint(name, self._options)}")
        return self._options[name]

    def _next(self, name: str, words: Iterator[str]) -> str:
        value = next(words, None)
        if value is None or value == _END or value.partition("=")[0] in self._options:
            raise UsageError(f"{name} takes a value")
        return value

    def _take(self, parameter: _Parameter, text: str) -> None:
        value = True if parameter.is_flag else parameter.converted(text)
        if parameter.is_list:
            self._values.setdefault(parameter.name, []).append(value)
        else:
            self._values[parameter.name] = value


def _hint(name: str, names: Iterable[str]) -> str:
    import difflib  # noqa: PLC0415 - for a mistake alone

    near = difflib.get_close_matches(name, names, n=1)
    return f", did you mean {near[0]}?" if near else ""
