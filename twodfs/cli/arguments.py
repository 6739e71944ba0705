"""Commands and their arguments, declared once and read twice.

A well-formed command line is read here, at once. Whatever is not, and every ``--help``, goes to typer, told
the same declarations: it explains well, but with pydantic it takes as long to load as all the rest.

A declaration is a function; ``Annotated`` holds what its parameters are on the command line::

    @program.add
    def push(target: Annotated[str, Argument("TARGET", "An image.")], *,
             quiet: Annotated[bool, Option("--quiet", "-q", help="Show no progress.")] = False) -> None:

Types are ``str``, ``bool`` (a flag), ``int``, ``Path``, a ``StrEnum``, each or None, and lists of ``str``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from types import NoneType
from typing import TYPE_CHECKING, Annotated, Any, Final, TypeVar, get_args, get_origin, get_type_hints

if TYPE_CHECKING:
    import typer

F = TypeVar("F", bound=Callable[..., None])

VERSION: Final = "--version"


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
        help: str,  # noqa: A002 - what typer calls it
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
    annotation: Any

    @property
    def is_flag(self) -> bool:
        return self.kind is bool

    def option_name(self) -> str:
        return f"--{self.name.replace('_', '-')}"


class _NotUnderstoodError(Exception):
    """Let typer look at the command line, and explain."""


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
        """Run the command that ``argv`` asks for.

        Raises:
            SystemExit: it is not a command line, or asks for help.
        """
        if list(argv) == [VERSION]:
            print(self._version)
            return
        try:
            function = self._functions[argv[0]]
            values = _understood(_parameters(function), argv[1:], _required(function))
        except (_NotUnderstoodError, LookupError):
            self.typer_app()(args=list(argv))
        else:
            function(**values)

    def typer_app(self) -> typer.Typer:
        """Return the same for typer."""
        import typer  # noqa: PLC0415 - see the module's docstring

        app = typer.Typer(
            name=self._name,
            help=self._help,
            no_args_is_help=True,
            add_completion=False,
            rich_markup_mode="rich",
            pretty_exceptions_enable=False,
        )

        def tell(asked: bool) -> None:  # noqa: FBT001 - how typer calls it
            if asked:
                typer.echo(self._version)
                raise typer.Exit

        def options(*, version: bool = False) -> None:
            del version

        options.__annotations__["version"] = Annotated[
            bool, typer.Option(VERSION, callback=tell, is_eager=True, help="Print the version.")
        ]
        app.callback()(options)
        for name, function in self._functions.items():
            app.command(name)(_explained(function))
        return app


def _parameters(function: Callable[..., None]) -> list[_Parameter]:
    found = []
    for name, annotation in get_type_hints(function, include_extras=True).items():
        if get_origin(annotation) is Annotated:
            kind, declared = get_args(annotation)[:2]
            (kind,) = [one for one in get_args(kind) if one is not NoneType] if _is_optional(kind) else [kind]
            is_list = get_origin(kind) is list
            kind = get_args(kind)[0] if is_list else kind
            found.append(_Parameter(name, kind, is_list, declared, annotation))
    return found


def _is_optional(kind: Any) -> bool:
    return NoneType in get_args(kind)


def _required(function: Callable[..., None]) -> frozenset[str]:
    code = function.__code__
    names = code.co_varnames[: code.co_argcount + code.co_kwonlyargcount]
    places = code.co_argcount - len(function.__defaults__ or ())
    named = set(names[code.co_argcount :]) - set(function.__kwdefaults__ or ())
    return frozenset(names[:places]) | named


def _understood(
    parameters: list[_Parameter], argv: Sequence[str], required: frozenset[str]
) -> dict[str, Any]:
    """Return the arguments by their names; what was left out has its default."""
    options = {
        name: one
        for one in parameters
        if isinstance(one.declared, Option)
        for name in one.declared.names or (one.option_name(),)
    }
    places = [one for one in parameters if isinstance(one.declared, Argument)]
    values: dict[str, Any] = {}
    words = iter(argv)
    for word in words:
        name, equals, value = word.partition("=")
        if not word.startswith("-"):
            parameter, value = _next(places), word
        elif name not in options or (options[name].is_flag and equals):
            raise _NotUnderstoodError
        else:
            parameter = options[name]
            if not parameter.is_flag and not equals:
                value = next(words, "-")
                if value.startswith("-"):
                    raise _NotUnderstoodError
        converted = _converted(parameter, value)
        if parameter.is_list:
            values.setdefault(parameter.name, []).append(converted)
        else:
            values[parameter.name] = converted
    if required - set(values):
        raise _NotUnderstoodError
    return values


def _next(places: list[_Parameter]) -> _Parameter:
    if not places:
        raise _NotUnderstoodError
    return places[0] if places[0].is_list else places.pop(0)


def _converted(parameter: _Parameter, text: str) -> Any:
    if parameter.is_flag:
        return True
    if not text:
        raise _NotUnderstoodError
    if issubclass(parameter.kind, StrEnum):
        if text not in parameter.kind.__members__.values():
            raise _NotUnderstoodError
        return parameter.kind(text)
    if parameter.kind is int:
        return _number(parameter, text)
    return Path(text) if parameter.kind is Path else text


def _number(parameter: _Parameter, text: str) -> int:
    limits = parameter.declared
    if not (text.isascii() and text.isdecimal()) or not isinstance(limits, Option):
        raise _NotUnderstoodError
    number = int(text)
    if (limits.min is not None and number < limits.min) or (limits.max is not None and number > limits.max):
        raise _NotUnderstoodError
    return number


def _explained(function: Callable[..., None]) -> Callable[..., None]:
    """Return ``function`` as typer wants it declared."""
    import functools  # noqa: PLC0415 - see the module's docstring
    import inspect  # noqa: PLC0415

    @functools.wraps(function)
    def run(*arguments: Any, **named: Any) -> None:
        function(*arguments, **named)

    known = {one.name: _for_typer(one) for one in _parameters(function)}
    signature = inspect.signature(function)
    parameters = [one.replace(annotation=known[one.name]) for one in signature.parameters.values()]
    run.__annotations__ = known
    run.__dict__["__signature__"] = signature.replace(parameters=parameters, return_annotation=None)
    del run.__dict__["__wrapped__"]
    return run


def _for_typer(parameter: _Parameter) -> Any:
    import typer  # noqa: PLC0415 - see the module's docstring

    kind = get_args(parameter.annotation)[0]
    declared = parameter.declared
    if isinstance(declared, Argument):
        return Annotated[kind, typer.Argument(metavar=declared.metavar, help=declared.help)]
    return Annotated[
        kind,
        typer.Option(
            *declared.names,
            help=declared.help,
            metavar=declared.metavar,
            min=declared.min,
            max=declared.max,
        ),
    ]
