"""Pages in Markdown: tables, and paragraphs in lines that are not too long."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Sequence
from typing import Final

Row = Sequence[str]

_WIDTH: Final = 120


def table(headings: Row, rows: Iterable[Row], *, words: int = 1) -> str:
    """Return a table; the first columns, as many as ``words``, are text, and all others are numbers."""
    rule = ["---" if at < words else "---:" for at in range(len(headings))]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (headings, rule, *rows))


def joined(parts: Iterable[str]) -> str:
    """Return a page of paragraphs, tables, headings and lists."""
    return "\n\n".join(map(_wrapped, parts)) + "\n"


def anchor(heading: str) -> str:
    """Return by which name a heading is linked to, as GitHub has it."""
    return "".join(one for one in heading.lower().replace(" ", "-") if one.isalnum() or one in "-_")


def _wrapped(part: str) -> str:
    """Return a part in lines of 120 characters; tables, headings, links and comments stay as they are."""
    if part.startswith("- "):
        return "\n".join(_filled(line, hanging="  ") for line in part.splitlines())
    if part.startswith(("|", "#", "<", "!", "[!", "```")) or max(map(len, part.splitlines())) <= _WIDTH:
        return part
    return _filled(part)


def _filled(text: str, *, hanging: str = "") -> str:
    return textwrap.fill(text, _WIDTH, subsequent_indent=hanging, break_long_words=False, break_on_hyphens=False)
