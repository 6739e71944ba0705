"""Where the root file systems are that this machine keeps for tests."""

from pathlib import Path

import pytest

from tests.lab import command
from tests.lab.peers import skip_where_done_without
from tests.lab.programs import environment


def root_made_by(script: str, name: str, called: str) -> Path:
    """Return where the script's root is; skips who is to do without, fails where nothing made it."""
    skip_where_done_without(name)
    found = Path(command.run((str(Path(__file__).with_name(script)), "--where"), environment()).strip())
    if not found.is_dir():
        pytest.fail(f"{called} not installed: run tests/lab/{script} as root", pytrace=False)
    return found
