"""Data goes one way: who may import whom, read from the sources."""

import ast
import re
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

from tests.lab.private_names import classes, used

ROOT = Path(__file__).parents[1]
PACKAGES = ("twodfs", "proxy")
# The pure core: no event loop, no sockets, no files.
PURE = ("errors", "printable", "oci", "field", "flatten", "signing")
# Of packages that are not.
PURE_MODULES = ("credentials.credentials", "registry.auth")
# What knows the insides of a library, and of which: where they are to be changed when they change.
FENCES = {"proxy.insides": "aiohttp and asyncio", "proxy.store.replies": "redis"}
IMPURE_LIBRARIES = {"asyncio", "aiohttp", "socket", "threading", "subprocess", "requests", "redis"}
_LISTED = re.compile(r"^(?: {4})?(\w+) {1,}(?=\S)", re.MULTILINE)


def modules(package: str) -> dict[str, Path]:
    found = {}
    for file in sorted((ROOT / package).rglob("*.py")):
        parts = file.relative_to(ROOT).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = file
    return found


def imports(file: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{file}: imports are absolute"
            yield node.module or ""
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


ALL = {name: file for package in PACKAGES for name, file in modules(package).items()}


def test_there_are_no_cycles() -> None:
    graph = {name: {one for one in imports(file) if one in ALL and one != name} for name, file in ALL.items()}
    for package in PACKAGES:  # a package's own __init__ is loaded before its modules, whoever asks
        graph[package] = set()
    assert list(TopologicalSorter(graph).static_order())


def test_the_format_never_imports_the_service() -> None:
    wrong = [(name, one) for name, file in modules("twodfs").items() for one in imports(file)]
    assert not [pair for pair in wrong if pair[1].split(".")[0] == "proxy"]


@pytest.mark.parametrize("part", [*PURE, *PURE_MODULES])
def test_the_core_is_pure(part: str) -> None:
    for name in (one for one in ALL if f"{one}.".startswith(f"twodfs.{part}.")):
        imported = set(imports(ALL[name]))
        assert not {one for one in imported if one.split(".")[0] in IMPURE_LIBRARIES}
        own = {f"{one.removeprefix('twodfs.')}." for one in imported if one.startswith("twodfs.")}
        pure = tuple(f"{one}." for one in (*PURE, *PURE_MODULES, "choices"))
        assert not {one for one in own if not one.startswith(pure)}


def parts(package: str) -> set[str]:
    """Return the names of the modules and packages right below ``package``."""
    return {name.removeprefix(f"{package}.").split(".")[0] for name in ALL if name.startswith(f"{package}.")}


def order(package: str) -> list[str]:
    """Return the parts of ``package`` from below to above, as its docstring lists them."""
    docstring = ast.get_docstring(ast.parse(ALL[package].read_text(encoding="utf-8"))) or ""
    return [name for name in _LISTED.findall(docstring) if name in parts(package)]


LAYERED = [name for name, file in ALL.items() if file.name == "__init__.py" and parts(name)]


@pytest.mark.parametrize("package", LAYERED)
def test_every_part_of_a_package_has_its_place(package: str) -> None:
    listed = order(package)
    assert len(set(listed)) == len(listed)
    assert set(listed) | {"__main__"} == parts(package) | {"__main__"}


@pytest.mark.parametrize("package", LAYERED)
def test_a_part_imports_only_from_those_listed_above_it(package: str) -> None:
    height = {name: at for at, name in enumerate(order(package))}
    for name, file in ALL.items():
        part = name.removeprefix(f"{package}.").split(".")[0]
        if not name.startswith(f"{package}.") or part not in height:
            continue
        for one in imports(file):
            below = one.removeprefix(f"{package}.").split(".")[0]
            if one.startswith(f"{package}.") and below in height:
                assert height[below] <= height[part], f"{name} imports {one} from above"


def test_no_task_without_an_owner() -> None:
    """A bare create_task can be collected in mid-flight, and nobody sees its exception."""
    for name, file in ALL.items():
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Attribute) and node.attr == "create_task":
                assert ast.unparse(node.value) in {"tasks", "group"}, f"{name}:{node.lineno}: use a TaskGroup"


def test_nobody_uses_private_names_of_another_outside_the_fences() -> None:
    """Of a foreign library, or of an object of ours; ``tests/lab/private_names.py`` says what is one."""
    texts = {name: file.read_text(encoding="utf-8") for name, file in ALL.items()}
    own = classes(texts)
    inside = {name for name in ALL for fence in FENCES if f"{name}.".startswith(f"{fence}.")}
    wrong = [
        f"{name}:{use.line}: {use.text}"
        for name, text in texts.items()
        if name not in inside
        for use in used(name, text, own)
    ]
    assert not wrong, "\n".join(wrong)
    for fence in FENCES:
        assert any(used(name, texts[name], own) for name in inside if f"{name}.".startswith(f"{fence}.")), fence


def test_no_test_module_imports_from_another() -> None:
    for file in (ROOT / "tests").rglob("test_*.py"):
        wrong = [one for one in imports(file) if re.match(r"tests\.(.*\.)?test_", one)]
        assert not wrong, f"{file} imports {wrong}"


# One name for one thing; where several things of a package have one, and why.
SHARED_NAMES = {
    "twodfs.cli": {"declare", "run"},  # what the table of commands finds in the module of each
    "proxy.cache": {"declare", "run"},
    "proxy.confinement": {"main"},  # where a process begins
    "proxy.bodies": {"obstacle"},  # the same question, asked of each layer before a start
}


def definitions(file: Path, *kinds: type[ast.AST]) -> Iterator[str]:
    """Yield the public names of ``kinds`` that a module defines."""
    for node in ast.parse(file.read_text(encoding="utf-8")).body:
        if isinstance(node, kinds) and not (name := getattr(node, "name", "_")).startswith("_"):
            yield name


def places(names: Iterator[tuple[str, str]]) -> dict[str, list[str]]:
    """Return where each name that stands in several modules does."""
    found: dict[str, list[str]] = {}
    for name, module in names:
        found.setdefault(name, []).append(module)
    return {name: modules for name, modules in found.items() if len(modules) > 1}


@pytest.mark.parametrize("package", [one for one in LAYERED if one.count(".") == 1])
def test_a_public_name_of_a_package_stands_for_one_thing(package: str) -> None:
    kinds = (ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    inside = {name: file for name, file in ALL.items() if f"{name}.".startswith(f"{package}.")}
    found = places((one, name) for name, file in inside.items() for one in definitions(file, *kinds))
    assert not {name: where for name, where in found.items() if name not in SHARED_NAMES.get(package, set())}


def test_a_public_class_of_proxy_and_twodfs_stands_for_one_thing() -> None:
    assert not places((one, name) for name, file in ALL.items() for one in definitions(file, ast.ClassDef))


def test_names_that_stand_twice_are_seen(tmp_path: Path) -> None:
    (tmp_path / "module.py").write_text("class A: ...\nclass _A: ...\ndef a() -> None: ...\nA = 1\n")
    assert list(definitions(tmp_path / "module.py", ast.ClassDef, ast.FunctionDef)) == ["A", "a"]
    assert places(iter([("A", "x"), ("B", "x"), ("A", "y")])) == {"A": ["x", "y"]}
