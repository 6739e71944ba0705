"""Every compiled regular expression of a package, how it is used, and texts that it may stumble over.

`re` tries the ways in which a text may fit one after the other. Where a part that repeats can begin at many
places, or share a text with its neighbour in many ways, their number grows faster than the text. Such texts
are built here from the expression itself: what it has read so far, one of its own pieces over and over, and
an end that does not fit.
"""

import ast
import importlib
import pkgutil
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import product
from re import _constants as op  # type: ignore[attr-defined]
from re import _parser as parser  # type: ignore[attr-defined]
from types import ModuleType
from typing import Any

METHODS = ("match", "search", "fullmatch", "sub", "subn", "split", "findall", "finditer")
KNOWN_PUMPS = (
    "a",
    "0",
    " ",
    "\t",
    "-",
    "_",
    ".",
    "/",
    "//",
    "<",
    '"',
    "\\",
    "token",
    "key=",
    "a-",
    "--a",
    ";a",
    ",",
    "é",
)
"""Tried with all of them, beside what an expression's own parts suggest."""
ENDS = ("", "\x00", "\n")
_MOST_PUMPS = 40


@dataclass(frozen=True, slots=True)
class Expression:
    """A compiled expression, where it is kept, and the methods of it that the code calls."""

    place: str
    pattern: re.Pattern[Any]
    uses: tuple[str, ...]

    def __str__(self) -> str:
        return self.place

    def pumps(self) -> list[tuple[str, str]]:
        """Return (what comes before, what is repeated) of all texts that are worth a try."""
        source = self.pattern.pattern
        text = source.decode("latin-1") if isinstance(source, bytes) else source
        flags = self.pattern.flags & ~re.UNICODE if isinstance(source, bytes) else self.pattern.flags
        tree = parser.parse(source, flags & ~re.DEBUG)
        assert isinstance(text, str)
        found = dict.fromkeys((lead, pump) for lead, pump in _pumps(tree, "") if pump)
        own = list(found)[:_MOST_PUMPS]
        leads = list(dict.fromkeys(("", *(lead for lead, _ in own))))[:6]
        return list(dict.fromkeys((*own, *product(leads, (*KNOWN_PUMPS, *_joined(own))))))

    def apply(self, method: str, text: str) -> None:
        """Use the expression in one of its ways."""
        subject: Any = text.encode() if isinstance(self.pattern.pattern, bytes) else text
        empty: Any = b"" if isinstance(subject, bytes) else ""
        if method in ("sub", "subn"):
            getattr(self.pattern, method)(empty, subject)
        elif method == "finditer":
            for _ in self.pattern.finditer(subject):
                pass
        else:
            getattr(self.pattern, method)(subject)


def _joined(own: list[tuple[str, str]]) -> list[str]:
    """Return pieces of two: what repeats is often a pair of parts."""
    pieces = list(dict.fromkeys(pump for _, pump in own))[:5]
    return ["".join(pair) for pair in product(pieces, repeat=2)]


def _pumps(tree: Iterable[Any], before: str) -> Iterator[tuple[str, str]]:
    """Yield what could be repeated at each place of an expression, with a text that leads there."""
    for node in tree:
        code, argument = node
        for part in _parts(code, argument):
            yield from _pumps(part, before)
        example = _example([node])
        yield before, example
        before += example
        yield "", before


def _parts(code: Any, argument: Any) -> list[Any]:
    if code in (op.MAX_REPEAT, op.MIN_REPEAT, op.POSSESSIVE_REPEAT):
        return [argument[2]]
    if code is op.SUBPATTERN:
        return [argument[3]]
    if code is op.BRANCH:
        return list(argument[1])
    if code is op.ATOMIC_GROUP:
        return [argument]
    return []


def _example(tree: Iterable[Any]) -> str:
    """Return a short text that fits, groups that refer to others and lookarounds aside."""
    text = ""
    for code, argument in tree:
        if code is op.LITERAL:
            text += chr(argument)
        elif code is op.NOT_LITERAL:
            text += "b" if argument == ord("a") else "a"
        elif code is op.ANY:
            text += "a"
        elif code is op.IN:
            text += _of_class(argument)
        elif code is op.BRANCH:
            text += _example(argument[1][0])
        elif code in (op.MAX_REPEAT, op.MIN_REPEAT, op.POSSESSIVE_REPEAT):
            text += _example(argument[2]) * max(1, min(argument[0], 64))
        else:
            text += "".join(_example(part) for part in _parts(code, argument))
    return text


def _of_class(items: list[Any]) -> str:
    if items[0][0] is op.NEGATE:
        excluded = {chr(value) for code, value in items if code is op.LITERAL}
        return next(one for one in "a1-~" if one not in excluded)
    code, value = items[0]
    if code is op.LITERAL:
        return chr(value)
    if code is op.RANGE:
        return chr(value[0])
    return {op.CATEGORY_SPACE: " ", op.CATEGORY_DIGIT: "1"}.get(value, "a")


def modules(packages: Iterable[str]) -> Iterator[ModuleType]:
    """Import and yield every module of ``packages``."""
    for name in packages:
        package = importlib.import_module(name)
        yield package
        for found in pkgutil.walk_packages(package.__path__, f"{name}."):
            if not found.name.endswith("__main__"):
                yield importlib.import_module(found.name)


def expressions(*packages: str) -> list[Expression]:
    """Return every compiled expression that the modules of ``packages`` keep, in whatever they keep it."""
    found: dict[int, Expression] = {}
    loaded = list(modules(packages))
    used = [_uses(module) for module in loaded]
    for module in loaded:
        for name, value in vars(module).items():
            if name.startswith("__"):
                continue
            for pattern in _patterns(value, set(), packages):
                uses = {method for one in used for method in one.get(name, ())}
                place = f"{module.__name__}.{name}"
                found.setdefault(id(pattern), Expression(place, pattern, tuple(sorted(uses)) or METHODS))
    return list(found.values())


def _patterns(value: object, seen: set[int], packages: tuple[str, ...]) -> Iterator[re.Pattern[Any]]:
    if id(value) in seen:
        return
    seen.add(id(value))
    if isinstance(value, re.Pattern):
        yield value
    elif isinstance(value, dict):
        for one in (*value.keys(), *value.values()):
            yield from _patterns(one, seen, packages)
    elif isinstance(value, tuple | list | set | frozenset):
        for one in value:
            yield from _patterns(one, seen, packages)
    elif isinstance(value, type) and value.__module__.split(".")[0] in packages:
        yield from _patterns(dict(vars(value)), seen, packages)
    elif type(value).__module__.split(".")[0] in packages:
        names = getattr(type(value), "__slots__", ())
        held = [getattr(value, name, None) for name in ((names,) if isinstance(names, str) else names)]
        yield from _patterns([*held, getattr(value, "__dict__", {})], seen, packages)


def _uses(module: ModuleType) -> dict[str, set[str]]:
    """Return which methods a module takes of which names; a name alone may be used in any way."""
    tree = ast.parse(importlib.import_module("inspect").getsource(module))
    uses: dict[str, set[str]] = {}
    attributes = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.attr in METHODS:
            uses.setdefault(node.value.id, set()).add(node.attr)
            attributes.add(id(node.value))
    for node in ast.walk(tree):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load) and id(node) not in attributes:
            uses.setdefault(node.id, set()).update(METHODS if node.id in uses or node.id.isupper() else ())
    return uses
