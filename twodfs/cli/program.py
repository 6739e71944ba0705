"""A program of several commands, found through a table; a command is imported when it runs or is explained.

A command is a module: its docstring is the help text and begins with a line that stands in the table as well;
``declare(parser)`` declares its options, ``run(arguments)`` does it and returns the exit status::

    program = Program("lab", "Do things.", "lab 1", {"paint": Command("lab.commands.paint", "Paint things.")})
    sys.exit(program.run(sys.argv[1:]))

A ``Group`` in the table is commands under a common word: ``lab walls paint``. In the table of the program each of them
has its whole name, ``walls paint``.
"""

from __future__ import annotations

import sys
from argparse import Namespace
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from types import ModuleType
from typing import Final

from twodfs.cli.parser import END, HELP, CommandParser, nearest
from twodfs.errors import UsageError

USAGE: Final = 2
"""The exit status of a wrong command line."""

_VERSION: Final = "--version"


@dataclass(frozen=True, slots=True)
class Command:
    """A row of the table.

    Attributes:
        module: where the command is.
        summary: its purpose, in a line.
    """

    module: str
    summary: str


@dataclass(frozen=True, slots=True)
class Group:
    """A row of the table that stands for several commands.

    Attributes:
        text: its help, as ``twodfs.cli.help.page`` takes it; the first paragraph is the summary.
        commands: by the names that follow the group's.
    """

    text: str
    commands: Mapping[str, Command]

    @property
    def summary(self) -> str:
        """The first paragraph of its help."""
        return " ".join(self.text.partition("\n\n")[0].split())


class Program:
    """The commands of a program, and its default."""

    def __init__(
        self, name: str, text: str, version: str, commands: Mapping[str, Command | Group], *, default: str | None = None
    ) -> None:
        """Begin without importing any.

        Args:
            name: how the program is called.
            text: that of ``--help``, as ``twodfs.cli.help.page`` takes it.
            version: the output of ``--version``.
            commands: by their names; ``completion`` is there without saying.
            default: the module of the command that runs where none is named. Its options may stand before the
                name of another, and count there, too.
        """
        self.name = name
        self._text = text
        self._version = version
        self._default = default
        completion = Command(
            "twodfs.cli.completion", "Print a script that completes command lines in bash, zsh or fish."
        )
        self.table: Mapping[str, Command | Group] = {**commands, "completion": completion}
        """What may follow the program's name."""
        self.commands: Mapping[str, Command] = dict(_whole_names(self.table))
        """Every command by its whole name, as ``doctor`` and ``cache ls``."""

    def run(self, argv: Sequence[str]) -> int:
        """Run the command that ``argv`` asks for, or print its help; return the exit status.

        Raises:
            UsageError: there is no such command, or it has no such arguments.
        """
        if not argv and not self._default:
            print(self._overview(), file=sys.stderr)
            return USAGE
        words = iter(argv)
        front, name = self.parser().read_front(words)
        if front.help:
            print(self._overview())
        elif front.version:
            print(self._version)
        elif name is not None:
            return self._run(name, list(words), front)
        elif self._default:
            return self._call(import_module(self._default), front)
        return 0

    def parser(self, command: str | None = None) -> CommandParser:
        """Return the parser of ``command``, or of the words before it; of a group, the one of the words behind it."""
        row = None if command is None else self.table.get(command)
        if isinstance(row, Group):
            parser = CommandParser(f"{self.name} {command}", row.text)
        elif command is not None:
            module = import_module(self.commands[command].module)
            parser = CommandParser(f"{self.name} {command}", module.__doc__ or "")
            module.declare(parser)
        else:
            parser = CommandParser(self.name, self._text)
            if self._default:
                import_module(self._default).declare(parser)
            parser.add_flag(_VERSION, text="Print the version.")
        parser.add_flag(*HELP, text="Show this.")
        return parser

    def _run_in(self, name: str, group: Group, words: Sequence[str], front: Namespace) -> int:
        rest = iter(words)
        own, command = self.parser(name).read_front(rest)
        if own.help or command is None:
            print(self._group_page(name, group), file=sys.stdout if own.help else sys.stderr)
            return 0 if own.help else USAGE
        if command not in group.commands:
            raise self._unknown(command, group.commands, f"{self.name} {name}")
        return self._run(f"{name} {command}", list(rest), front)

    @staticmethod
    def _unknown(name: str, known: Mapping[str, object], program: str) -> UsageError:
        return UsageError(f"there is no command {name!r}{nearest(name, known)}; '{program} --help' lists them")

    def _run(self, name: str, words: Sequence[str], front: Namespace) -> int:
        row = self.table.get(name)
        if isinstance(row, Group):
            return self._run_in(name, row, words, front)
        if name not in self.commands:
            raise self._unknown(name, self.table, self.name)
        parser = self.parser(name)
        # With --help, mistakes in the rest do not matter.
        is_asked = any(word in HELP for word in words[: words.index(END) if END in words else None])
        arguments = None if is_asked else parser.read(words, front)
        if arguments is None or arguments.help:
            print(parser.format_help())
            return 0
        return self._call(import_module(self.commands[name].module), arguments)

    def _call(self, module: ModuleType, arguments: Namespace) -> int:
        arguments.program = self
        return int(module.run(arguments))

    def _overview(self) -> str:
        from twodfs.cli.help import Table, option_rows, page  # noqa: PLC0415 - most runs need none

        tables = [
            Table("Commands", [(name, one.summary) for name, one in self.table.items()]),
            Table("Options", option_rows(self.parser().declared)),
        ]
        usage = f"{self.name} {'[COMMAND]' if self._default else 'COMMAND'} [OPTIONS] ..."
        return page(usage, self._text, tables)

    def _group_page(self, name: str, group: Group) -> str:
        from twodfs.cli.help import Table, option_rows, page  # noqa: PLC0415 - most runs need none

        tables = [
            Table("Commands", [(word, one.summary) for word, one in group.commands.items()]),
            Table("Options", option_rows(self.parser(name).declared)),
        ]
        return page(f"{self.name} {name} COMMAND [OPTIONS] ...", group.text, tables)


def _whole_names(table: Mapping[str, Command | Group]) -> Iterator[tuple[str, Command]]:
    for name, row in table.items():
        if isinstance(row, Group):
            yield from ((f"{name} {word}", one) for word, one in row.commands.items())
        else:
            yield name, row
