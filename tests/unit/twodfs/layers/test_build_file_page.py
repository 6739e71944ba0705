"""docs/build-file.md: every key has its row, and every example builds."""

import re
from pathlib import Path

import pytest

from tests.lab.models import llama
from twodfs.field.allotment import MAX_COORDINATE
from twodfs.layers import build_file, destinations
from twodfs.layers.build_file import BuildFile
from twodfs.layers.made import MADE_KEYS
from twodfs.models.request import MODEL_KEYS

PAGE = (Path(__file__).parents[4] / "docs" / "build-file.md").read_text()


def keys(title: str) -> list[str]:
    section = PAGE.partition(f"\n## {title}\n")[2].partition("\n## ")[0]
    return re.findall(r"^\| `(\w+)` \|", section, re.MULTILINE)


def test_every_key_has_its_row() -> None:
    assert sorted(keys("The file")) == sorted(build_file._FILE_KEYS)
    assert sorted(keys("An allotment")) == sorted(build_file._ALLOTMENT_KEYS)
    assert sorted(keys("Models")) == sorted(MODEL_KEYS)
    for kind in MADE_KEYS:
        assert f'| `{{"{kind[0]}": ' in PAGE


def test_the_figures_are_those_of_the_parser() -> None:
    for figure in (f"0 to {build_file._MAX_ID}", f"{destinations.MAX_NAME} bytes", f"{destinations.MAX_PATH:,}"):
        assert figure in PAGE
    assert f"{build_file.MAX_BUILD_FILE_BYTES >> 20} MiB" in PAGE
    assert f"0 to {MAX_COORDINATE:,}" in PAGE


@pytest.mark.parametrize("example", re.findall(r"^```json\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL))
def test_every_example_loads(example: str, tmp_path: Path) -> None:
    for directory in ("tokenizer", "weights/a"):
        (tmp_path / directory).mkdir(parents=True)
    for file in ("0-0.bin", "0-1.bin", "tokenizer/t", "weights/a/1.bin"):
        (tmp_path / file).write_bytes(b"1")
    llama(tmp_path / "llama", layers=2)
    (tmp_path / "2dfs.json").write_text(example)
    assert BuildFile.load(tmp_path / "2dfs.json").cells
