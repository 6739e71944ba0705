"""Private names that a module uses of others: attributes with an underscore, and modules that nobody documents."""

import ast
import functools
import importlib.util
import inspect
import sys
import textwrap
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final

# A named tuple's own methods, underscored so that they are no names of fields.
_DOCUMENTED: Final = frozenset({"_asdict", "_field_defaults", "_fields", "_make", "_replace"})
# Modules of these that their documentation names; of others, any whose name has no underscore.
_PUBLIC_MODULES: Final = {
    "aiohttp": {"aiohttp", "aiohttp.abc", "aiohttp.hdrs", "aiohttp.test_utils", "aiohttp.web"},
    "asyncio": {"asyncio"},
}


@dataclass(frozen=True)
class Use:
    """A private name of another that is used."""

    line: int
    text: str


@dataclass
class OwnClass:
    """A class of ours."""

    name: str
    bases: tuple[str, ...]
    """As they are called where they come from: ``aiohttp.web.Server``, ``proxy.wire.pool.AnswerReader``."""
    defined: set[str] = field(default_factory=set)


def is_private(name: str) -> bool:
    return name.startswith("_") and not (name.startswith("__") and name.endswith("__")) and name != "_"


def classes(sources: Mapping[str, str]) -> dict[str, OwnClass]:
    """Return the classes of all modules, by name with the module's."""
    found = {}
    for module, source in sources.items():
        tree = ast.parse(source)
        known = _imported(tree) | {
            node.name: f"{module}.{node.name}" for node in ast.walk(tree) if isinstance(node, ast.ClassDef)
        }
        for node in ast.walk(tree):
            if isinstance(node, ast.ClassDef):
                found[f"{module}.{node.name}"] = OwnClass(node.name, tuple(_bases(node, known)), set(_defined(node)))
    return found


def _bases(node: ast.ClassDef, known: Mapping[str, str]) -> Iterator[str]:
    for base in node.bases:
        first, dot, rest = ast.unparse(base.value if isinstance(base, ast.Subscript) else base).partition(".")
        yield known.get(first, first) + dot + rest


def _imported(tree: ast.Module) -> dict[str, str]:
    """Return what names in a module stand for."""
    known: dict[str, str] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for one in node.names:
                first = one.name.partition(".")[0]
                known |= {one.asname: one.name} if one.asname else {first: first}
        elif isinstance(node, ast.ImportFrom):
            known |= {(one.asname or one.name): f"{node.module}.{one.name}" for one in node.names}
    return known


def _defined(owner: ast.ClassDef) -> Iterator[str]:
    """Yield the names that a class gives to itself or to its instances."""
    for node in owner.body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            yield node.name
        elif isinstance(node, ast.AnnAssign | ast.Assign):
            for target in node.targets if isinstance(node, ast.Assign) else [node.target]:
                if isinstance(target, ast.Name):
                    yield target.id
                    if target.id == "__slots__" and node.value is not None:
                        yield from (str(one.value) for one in ast.walk(node.value) if isinstance(one, ast.Constant))
    for part in ast.walk(owner):
        if isinstance(part, ast.Attribute) and isinstance(part.ctx, ast.Store) and ast.unparse(part.value) == "self":
            yield part.attr


def used(module: str, source: str, own: Mapping[str, OwnClass]) -> list[Use]:
    """Return what ``module`` uses of the private names of others.

    - an attribute ``x._name``, unless x is an instance of the class around it, which defines that name itself or
      has it of a base of ours;
    - a name ``_name`` that a class of ours inherits from another's, also where it overrides it;
    - ``getattr(x, "_name")`` and its like;
    - an import of ``_name``, of a module with an underscore, or of one that its library does not document.
    """
    finder = _Finder(module, own)
    finder.visit(ast.parse(source))
    return finder.found


class _Finder(ast.NodeVisitor):
    def __init__(self, module: str, own: Mapping[str, OwnClass]) -> None:
        self.found: list[Use] = []
        self._module = module
        self._own = own
        self._around: list[str] = []  # full names of the classes
        self._names: dict[str, set[str]] = {}  # private ones that a class may use, by its full name
        self._instances: list[set[str]] = []  # of the class around, in each function around

    def _note(self, node: ast.AST, text: str) -> None:
        self.found.append(Use(getattr(node, "lineno", 0), text))

    def visit_ClassDef(self, node: ast.ClassDef) -> None:
        name = f"{self._module}.{node.name}"
        inherited = _inherited(name, self._own)
        for taken in sorted(filter(is_private, self._own[name].defined & inherited)):
            self._note(node, f"{node.name} overrides {taken}")
        self._names[name] = _given(name, self._own) - inherited
        self._around.append(name)
        self.generic_visit(node)
        self._around.pop()

    def visit_FunctionDef(self, node: ast.FunctionDef | ast.AsyncFunctionDef) -> None:
        self._instances.append(set(self._of_class_around(node)))
        self.generic_visit(node)
        self._instances.pop()

    visit_AsyncFunctionDef = visit_FunctionDef  # noqa: N815 - as ast calls it

    def _of_class_around(self, node: ast.FunctionDef | ast.AsyncFunctionDef) -> Iterator[str]:
        """Yield what in a function is an instance of the class around it: self, parameters, and what it makes."""
        yield from ("self", "cls", "super()")
        if not self._around:
            return
        name = self._around[-1].rpartition(".")[2]
        yield name
        for argument in ast.walk(node.args):
            annotation = argument.annotation if isinstance(argument, ast.arg) else None
            if isinstance(argument, ast.arg) and annotation and ast.unparse(annotation).strip("'") in {name, "Self"}:
                yield argument.arg
        for part in ast.walk(node):
            made = part.value if isinstance(part, ast.Assign) else None
            if isinstance(part, ast.Assign) and isinstance(made, ast.Call) and ast.unparse(made.func) in {"cls", name}:
                yield from (ast.unparse(target) for target in part.targets)

    def visit_Attribute(self, node: ast.Attribute) -> None:
        self.generic_visit(node)
        if is_private(node.attr) and node.attr not in _DOCUMENTED and not self._is_own(node):
            self._note(node, ast.unparse(node))

    def _is_own(self, node: ast.Attribute) -> bool:
        of = ast.unparse(node.value)
        if not any(of in names for names in self._instances):
            return False
        return any(node.attr in self._names[around] for around in self._around)

    def visit_Call(self, node: ast.Call) -> None:
        self.generic_visit(node)
        if isinstance(node.func, ast.Name) and node.func.id in {"getattr", "hasattr", "setattr", "delattr"}:
            name = node.args[1]
            if isinstance(name, ast.Constant) and is_private(str(name.value)):
                self._note(node, ast.unparse(node))

    def visit_Import(self, node: ast.Import) -> None:
        for one in node.names:
            if not _is_public(one.name):
                self._note(node, ast.unparse(node))

    def visit_ImportFrom(self, node: ast.ImportFrom) -> None:
        module = node.module or ""
        names = [f"{module}.{one.name}" for one in node.names]
        modules = [name for name in names if name in sys.modules or (module in _PUBLIC_MODULES and _is_module(name))]
        if not all(map(_is_public, [module, *modules])) or any(is_private(one.name) for one in node.names):
            self._note(node, ast.unparse(node))


def _is_public(module: str) -> bool:
    top = module.split(".", maxsplit=1)[0]
    return module in _PUBLIC_MODULES[top] if top in _PUBLIC_MODULES else not any(map(is_private, module.split(".")))


def _is_module(name: str) -> bool:
    return importlib.util.find_spec(name) is not None


def _ancestors(name: str, own: Mapping[str, OwnClass]) -> Iterator[str]:
    yield name
    for base in own[name].bases if name in own else ():
        yield from _ancestors(base, own)


def _given(name: str, own: Mapping[str, OwnClass]) -> set[str]:
    """Return the names that a class and its bases of ours define."""
    return {one for ancestor in _ancestors(name, own) if ancestor in own for one in own[ancestor].defined}


def _inherited(name: str, own: Mapping[str, OwnClass]) -> set[str]:
    """Return the private names that a class has of bases that are not ours."""
    return {one for ancestor in _ancestors(name, own) if ancestor not in own for one in _private_names(ancestor)}


@functools.cache
def _private_names(name: str) -> frozenset[str]:
    """Return the private names of a foreign class and its instances, as far as they can be seen."""
    found: set[str] = set()
    owner = _loaded(name)
    for ancestor in inspect.getmro(owner) if isinstance(owner, type) else ():  # NamedTuple is a function
        found |= set(filter(is_private, vars(ancestor)))
        try:
            source = textwrap.dedent(inspect.getsource(ancestor))
        except (OSError, TypeError):  # written in C
            continue
        found |= {
            node.attr
            for node in ast.walk(ast.parse(source))
            if isinstance(node, ast.Attribute) and ast.unparse(node.value) == "self" and is_private(node.attr)
        }
    return frozenset(found)


def _loaded(name: str) -> object:
    module, _, attribute = name.rpartition(".")
    return getattr(importlib.import_module(module or "builtins"), attribute)
