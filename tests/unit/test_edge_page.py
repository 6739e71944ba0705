"""The page on edge nodes names settings, alerts and files that are there."""

import re
from pathlib import Path

import yaml

from proxy.config import load, settings

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "edge.md").read_text(encoding="utf-8")
ALERTS = ROOT / "helm" / "twodfs-proxy" / "files" / "alerts.yaml"


def test_every_setting_of_the_section_has_a_row_and_no_other() -> None:
    rows = re.findall(r"^\| `(edge\.\w+)` \|", PAGE, re.MULTILINE)
    assert sorted(rows) == sorted(path for path in settings() if path.startswith("edge."))
    named = set(re.findall(r"`(edge\.[a-z_]+)\b(?!\.)", PAGE)) - {"edge.toml", "edge.site", "edge.enabled"}
    assert named <= set(settings())


def test_the_defaults_are_those_of_the_program() -> None:
    shown = dict(re.findall(r"^\| `(edge\.\w+)` \| `(\w+)`", PAGE, re.MULTILINE))
    assert len(shown) == 4
    edge = load({"upstream": "http://a", **shown}, {}).edge
    assert edge == load({"upstream": "http://a"}, {}).edge


def test_every_alert_on_the_page_is_one() -> None:
    named = set(re.findall(r"`(Twodfs\w+)`", PAGE))
    rules = yaml.safe_load(ALERTS.read_text())["groups"][0]["rules"]
    assert named == {rule["alert"] for rule in rules if rule["alert"].startswith("TwodfsEdge")}


def test_every_file_that_the_page_leads_to_is_there() -> None:
    for target in re.findall(r"\]\(([\w./-]+)[^)]*\)", PAGE):
        if not target.startswith("http"):
            assert (ROOT / "docs" / target).exists(), target
