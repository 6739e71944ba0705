from glob import glob
from pathlib import Path

import pytest

from twodfs.layers.patterns import find_matches

PATTERNS = [
    "*",
    "**",
    "**/*",
    "*/",
    "**/",
    "*/*",
    "**/*.bin",
    "a/*",
    "*/b/**",
    "[!a]*",
    ".*",
    "**/.h*",
    "?/**/1*",
]


@pytest.mark.parametrize("pattern", PATTERNS)
def test_where_there_are_no_links_a_pattern_matches_what_glob_does(tmp_path: Path, pattern: str) -> None:
    for name in ("1.bin", "a/1.bin", "a/b/1.bin", "a/b/c/12", "b/b/.hidden/1", "b/.h", ".x/1.bin", "c d/[1]"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "empty").mkdir()
    found = {name.rstrip("/") for name in glob(pattern, root_dir=tmp_path, recursive=True)}  # noqa: PTH207
    outermost = {name for name in found if not any(name.startswith(f"{other}/") for other in found)}
    assert find_matches(tmp_path, pattern) == sorted(outermost)


def test_any_name_may_be_a_pattern_of_its_own(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "b").touch()
    assert find_matches(tmp_path, "a/b") == find_matches(tmp_path, "*/b") == ["a/b"]
    assert find_matches(tmp_path, "*/c") == find_matches(tmp_path, "*/b/*") == []
