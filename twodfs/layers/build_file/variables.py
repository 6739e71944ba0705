"""Variables of a build file: ``${NAME}`` in a text is the value of ``NAME``, ``$${`` is ``${``. Pure.

A text of a number's key that is one variable and nothing else is that number: ``"row": "${ROW}"``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

from twodfs.errors import FormatError

MAX_EXPANDED: Final = 64 * 1024 * 1024
"""Characters that the values of variables add up to, at the most."""

_NUMBERS: Final = frozenset({"row", "col", "uid", "gid", "stages"})
_VARIABLE: Final = re.compile(r"(\$)?\$\{(?:([A-Za-z_][A-Za-z0-9_]*)\})?")
_WHOLE: Final = re.compile(r"0|-?[1-9][0-9]{0,17}")


def may_have_variables(body: bytes) -> bool:
    """Say whether JSON or YAML may have a variable in it; no for nearly all that have none."""
    return b"${" in body or b"\\u00" in body or b"\\x" in body


def expanded(tree: Any, variables: Mapping[str, str]) -> Any:
    """Return ``tree``, parsed JSON, with the values of ``variables`` in its texts; its keys stay.

    Linear in the tree and the result.

    Raises:
        FormatError: a variable is not set, something is none, or the values are too long; with the path.
    """
    return _Expansion(variables).of(tree, "", "")


def escaped(tree: Any) -> Any:
    """Return ``tree`` with texts that ``expanded`` makes the texts of ``tree`` again."""
    if isinstance(tree, dict):
        return {name: escaped(one) for name, one in tree.items()}
    if isinstance(tree, list):
        return list(map(escaped, tree))
    return tree.replace("${", "$${") if isinstance(tree, str) else tree


class _Expansion:
    def __init__(self, variables: Mapping[str, str]) -> None:
        self._variables = variables
        self._left = MAX_EXPANDED

    def of(self, value: Any, path: str, key: str) -> Any:
        if isinstance(value, dict):
            prefix = f"{path}." if path else ""
            return {name: self.of(one, prefix + name, name) for name, one in value.items()}
        if isinstance(value, list):
            return [self.of(one, f"{path}[{at}]", "") for at, one in enumerate(value)]
        if not isinstance(value, str) or "${" not in value:
            return value
        text = _VARIABLE.sub(lambda found: self._value(found, path), value)
        whole = _VARIABLE.fullmatch(value)
        is_number = key in _NUMBERS and whole is not None and not whole[1] and _WHOLE.fullmatch(text)
        return int(text) if is_number else text

    def _value(self, found: re.Match[str], path: str) -> str:
        escape, name = found.groups()
        if escape:
            return found[0][1:]
        if name is None:
            raise FormatError("'${' begins a variable, as ${NAME}; write '$${' for the characters themselves", path)
        value = self._variables.get(name)
        if value is None:
            raise FormatError(f"the variable {name} is not set; give it with --set {name}=VALUE", path)
        self._left -= len(value)
        if self._left < 0:
            raise FormatError(f"variables have more than {MAX_EXPANDED} characters in all", path)
        return value
