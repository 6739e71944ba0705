"""Help as text: the purpose of a command, and tables of its arguments and options.

Not argparse's own pages, which differ from one Python to the next and leave no place for paragraphs.
"""

from __future__ import annotations

import shutil
import textwrap
from argparse import Action
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from inspect import cleandoc
from itertools import groupby
from typing import Final

_WIDEST: Final = 100
_INDENT: Final = "  "
_LEFT: Final = 30
"""Characters of a table's left column, at most; a longer entry has its text below."""


@dataclass(frozen=True, slots=True)
class Table:
    """Arguments or options, and the meaning of each."""

    title: str
    rows: Sequence[tuple[str, str]]


def page(usage: str, text: str, tables: Sequence[Table]) -> str:
    """Return a page of help as wide as the terminal.

    Args:
        usage: how the command is written.
        text: a docstring. Its paragraphs are filled, lines that are indented stay as they are.
        tables: those without rows are left out.
    """
    width = min(shutil.get_terminal_size().columns, _WIDEST)
    parts = [f"Usage: {usage}", *_paragraphs(text, width)]
    parts += ["\n".join((f"{one.title}:", *_rows(one, width))) for one in tables if one.rows]
    return "\n\n".join(parts)


def explained(command: str, text: str, declared: Sequence[Action]) -> str:
    """Return the page of help of one command; ``text`` is as for ``page``."""
    places = [one for one in declared if not one.option_strings]
    shown = [str(one.metavar) if one.required else f"[{one.metavar}]" for one in places]
    tables = [
        Table("Arguments", [(str(one.metavar), one.help or "") for one in places]),
        Table("Options", option_rows(declared)),
    ]
    return page(" ".join((command, "[OPTIONS]", *shown)), text, tables)


def option_rows(declared: Sequence[Action]) -> list[tuple[str, str]]:
    """Return the options among ``declared``, and the meaning of each."""
    return [(_spelled(one), _text(one)) for one in declared if one.option_strings]


def _spelled(option: Action) -> str:
    """Return an option's names, the short one first and in a column of its own."""
    names = ", ".join(sorted(option.option_strings, key=len))
    indented = names if names[1] != "-" else f"    {names}"
    value = "" if option.nargs == 0 else f" {option.metavar}"
    return indented + value


def _text(option: Action) -> str:
    if option.required:
        return f"{option.help} [required]"
    is_shown = option.nargs != 0 and option.default is not None
    return f"{option.help} [default: {option.default}]" if is_shown else option.help or ""


def summary(text: str) -> str:
    """Return the first paragraph of a docstring."""
    return " ".join(cleandoc(text).partition("\n\n")[0].split())


def _paragraphs(text: str, width: int) -> Iterator[str]:
    for paragraph in cleandoc(text).split("\n\n"):
        parts = ["\n".join(lines) for _, lines in groupby(paragraph.split("\n"), lambda line: line[:1] == " ")]
        yield "\n".join(
            textwrap.indent(textwrap.dedent(part), _INDENT) if part.startswith(" ") else _filled(part, width)
            for part in parts
        )


def _rows(table: Table, width: int) -> Iterator[str]:
    lefts = [len(left) for left, _ in table.rows if len(left) <= _LEFT]
    margin = " " * (len(_INDENT) + max(lefts, default=0) + len(_INDENT))
    for left, text in table.rows:
        begin = f"{_INDENT}{left}".ljust(len(margin))
        if len(begin) > len(margin):
            yield begin
            begin = margin
        yield _filled(text, width, begin, margin)


def _filled(text: str, width: int, first: str = "", rest: str = "") -> str:
    # Names are looked for and copied, so none is broken.
    return textwrap.fill(
        " ".join(text.split()),
        width,
        initial_indent=first,
        subsequent_indent=rest,
        break_long_words=False,
        break_on_hyphens=False,
    )
