"""What is known to fail, by the title of the check. A check that passes must leave this table: its test says so."""

from collections.abc import Mapping
from typing import Final

KNOWN: Final[Mapping[str, str]] = {}
