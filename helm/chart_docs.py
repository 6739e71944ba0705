"""Write the chart's README from the comments of its values: `make chart-docs`.

A comment right above a key is that key's meaning. A key below which no key has a comment is a tree that is
passed on as it is, and gets one line. `--check` writes nothing and says by its status whether the README is
current.
"""

import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import yaml

CHART: Final = Path(__file__).parent / "twodfs-proxy"
_VALUES: Final = CHART / "values.yaml"
_README: Final = CHART / "README.md"
_BEGIN: Final = "<!-- Written by `make chart-docs`; do not edit below. -->"


@dataclass(frozen=True, slots=True)
class Value:
    """One documented key of the values."""

    path: str
    default: Any
    meaning: str
    has_rows: bool
    """Whether keys below it have rows of their own."""


def values() -> list[Value]:
    """Return every documented key of the values, in their order.

    Raises:
        ValueError: a key has no comment, and no key above it has one for all of its tree.
    """
    text = _VALUES.read_text(encoding="utf-8")
    root = yaml.compose(text, Loader=yaml.SafeLoader)
    return list(_walk(root, yaml.safe_load(text), text.splitlines(), ""))


def _walk(node: Any, content: dict[str, Any], lines: list[str], prefix: str) -> Iterator[Value]:
    for key, below in node.value:
        path, default = f"{prefix}{key.value}", content[key.value]
        meaning = _comment_above(lines, key.start_mark.line)
        rows = list(_walk(below, default, lines, f"{path}.")) if _is_block(below) else []
        has_rows = any(row.meaning for row in rows)
        if meaning or not has_rows:
            yield Value(path, default, meaning, has_rows=has_rows)
        if has_rows:
            yield from rows


def _is_block(node: Any) -> bool:
    return isinstance(node, yaml.MappingNode) and not node.flow_style


def _comment_above(lines: list[str], at: int) -> str:
    first = at
    while first and lines[first - 1].lstrip().startswith("# "):
        first -= 1
    return " ".join(line.strip().removeprefix("# ") for line in lines[first:at])


def undocumented() -> list[str]:
    """Return the keys that neither have a comment nor stand in a tree that has one."""
    return [value.path for value in values() if not value.meaning]


def table() -> str:
    """Return the table of all values, in Markdown."""
    rows = ["| value | default | meaning |", "|---|---|---|"]
    for value in values():
        default = "" if value.has_rows else f"`{json.dumps(value.default, ensure_ascii=False)}`"
        rows.append(f"| `{value.path}` | {default} | {value.meaning} |".replace("|  |", "| |"))
    return "\n".join(rows)


def readme() -> str:
    """Return the README as it should be: its own text, and the table."""
    written = _README.read_text(encoding="utf-8").partition(_BEGIN)[0]
    return f"{written}{_BEGIN}\n\n{table()}\n"


def main() -> None:
    """Write the README, or check it."""
    current = readme()
    if "--check" in sys.argv[1:]:
        sys.exit(_README.read_text(encoding="utf-8") != current and "README.md is stale: run make chart-docs")
    _README.write_text(current, encoding="utf-8")


if __name__ == "__main__":
    main()
