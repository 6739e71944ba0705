"""The operations page names things that are there."""

import re
from pathlib import Path

import pytest

from proxy.config import settings

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")
CODE = "\n".join(file.read_text(encoding="utf-8") for file in sorted((ROOT / "proxy").rglob("*.py")))
SECTIONS = {path.partition(".")[0] for path in settings() if "." in path}
NAMED = set(re.findall(r"`([a-z_]+\.[a-z_]+)`", PAGE))
LOGGED = set(re.findall(r"log `([^`]+)`", PAGE))


def test_every_setting_on_the_page_is_one() -> None:
    named = {one for one in NAMED if one.partition(".")[0] in SECTIONS}
    assert len(named) > 8
    assert named <= set(settings())


@pytest.mark.parametrize("event", sorted(LOGGED))
def test_every_line_of_the_log_on_the_page_is_written(event: str) -> None:
    assert f'"{event}"' in CODE


def test_every_check_of_the_doctor_on_the_page_is_made() -> None:
    section = PAGE.partition("## Ask the doctor first")[2].partition("\n## ")[0]
    named = {
        check
        for row in re.findall(r"^\| (`.*?) \|", section, re.MULTILINE)
        for check in re.findall(r"`([a-z-]+)`", row)
    }
    written = set(re.findall(r'(?:ok|warning|problem|skipped)\(\s*"([a-z-]+)"', CODE))
    written |= set(re.findall(r'_CHECK: Final = "([a-z-]+)"', CODE))
    assert named == written - {"image", "blobs"}


def test_the_sentences_that_people_see_are_ours() -> None:
    for sentence in (
        "cannot be reached",
        "the image is incomplete",
        "the proxy failed on this request",
        "is longer than",
    ):
        assert sentence in CODE
