"""Files and tests that pages name are there."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = sorted(
    str(page.relative_to(ROOT))
    for page in (*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"))
    if page.name != "CHANGELOG.md"  # it tells of what was
)
_FILE = re.compile(
    r"(?<![\w/.-])(?:proxy|twodfs|tests|docs|deploy|benchmarks|helm)/[\w./-]+\.(?:py|md|sh|yaml|toml|json)\b"
)
_TEST = re.compile(r"`(test_\w+)`")


@pytest.mark.parametrize("page", PAGES)
def test_every_file_that_a_page_names_is_there(page: str) -> None:
    named = set(_FILE.findall((ROOT / page).read_text()))
    assert not [one for one in sorted(named) if not (ROOT / one).exists() and "/NAME." not in one]


def test_every_test_that_a_page_names_is_there() -> None:
    modules = [ast.parse(file.read_text()) for file in (ROOT / "tests").rglob("test_*.py")]
    functions = (ast.FunctionDef, ast.AsyncFunctionDef)
    defined = {node.name for module in modules for node in module.body if isinstance(node, functions)}
    named = {name for page in PAGES for name in _TEST.findall((ROOT / page).read_text())}
    assert len(named) > 40
    assert not named - defined
