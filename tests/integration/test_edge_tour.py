"""The tour of docs/edge.md, command by command; ports and places are the test's own."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.lab.peers import require
from tests.lab.process import free_port
from tests.lab.programs import environment

PAGE = (Path(__file__).parents[2] / "docs" / "edge.md").read_text()
TOUR = PAGE.partition("## Five-minute tour")[2].partition("\n## ")[0]
_BLOCK = re.compile(r"^```\n(.*?)^```", re.MULTILINE | re.DOTALL)
# A command begins with the prompt, goes on while its lines end in a backslash, and what else there is, is printed.
_COMMAND = re.compile(r"^\$ ((?:.*\\\n)*.*)$", re.MULTILINE)


@pytest.fixture
def said(tmp_path: Path) -> list[str]:
    """Each command of the tour, its status, and what it printed, after the set-up."""
    require("docker-registry", "skopeo")
    setup, *shown = _BLOCK.findall(TOUR)
    commands = [one for block in shown for one in _COMMAND.findall(block) if "…" not in one]
    admin = free_port()
    ports = {"5000": free_port(), "5001": free_port(), "9464": admin}
    node = "twodfs-proxy --upstream"
    assert node in setup
    script = "\n".join(
        (
            "trap 'kill $(jobs -p)' EXIT",
            setup.replace(node, f"twodfs-proxy --admin 127.0.0.1:{admin} --upstream"),
            f"until curl -sf 127.0.0.1:{admin}/readyz >/dev/null; do sleep 0.05; done",
            *(f"echo '@@{at}'\n{one}\necho \"status $?\"\n{_settled(one)}" for at, one in enumerate(commands)),
        )
    ).replace("/tmp/registry", str(tmp_path / "registry"))
    for port, own in ports.items():
        script = script.replace(f"127.0.0.1:{port}", f"127.0.0.1:{own}")
    path = f"{Path(sys.executable).parent}{os.pathsep}{environment()['PATH']}"
    done = subprocess.run(
        ("bash", "-c", script),
        cwd=tmp_path,
        env={**environment(), "PATH": path},
        timeout=60,
        capture_output=True,
        text=True,
        check=False,
    )
    parts = re.split(r"^@@\d+\n", done.stdout, flags=re.MULTILINE)[1:]
    assert len(parts) == len(commands), done.stdout + done.stderr
    return [f"{one}\n{part}" for one, part in zip(commands, parts, strict=True)]


def _settled(command: str) -> str:
    """Return what waits until a command has had its effect, as people do without noticing."""
    if command.startswith("docker-registry"):
        return "until curl -sf 127.0.0.1:5001/v2/ >/dev/null; do sleep 0.05; done"
    if command.startswith("kill"):
        return "until curl -s 127.0.0.1:9464/readyz | grep -q 'cannot be reached'; do sleep 0.05; done"
    return ""


def test_the_tour_goes_as_the_page_says(said: list[str]) -> None:
    pulls = [one for one in said if one.startswith("skopeo")]
    assert ["status 0" in one for one in pulls] == [True, True, True, False, True]
    (fetched,) = (one for one in said if one.startswith("grep"))
    assert re.findall(r"^ +(\d+) \"GET", fetched, re.MULTILINE) == ["1"] * 6
    (tag,) = (one for one in said if one.startswith("curl -sI"))
    assert "HTTP/1.1 200 OK" in tag
    assert 'Warning: 110 - "Response is Stale"' in tag
    (ready,) = (one for one in said if "readyz" in one)
    assert '"status":"ready","upstream":"the registry at' in ready
    (stats,) = (one for one in said if "cache stats" in one)
    assert re.search(r"allotment +16\.8 MB", stats)
    (images,) = (one for one in said if "cache ls" in one)
    assert re.search(r"library/model:v1--0\.0\.1\.1 .*complete", images)
