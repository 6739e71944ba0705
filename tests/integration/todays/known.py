"""What is known to fail, by the title of the check.

The check has the right value nevertheless. When it passes, its test fails until the line here is gone; when
it fails in another way than said here, its test fails as well.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Known:
    reason: str
    """What the page says of it."""
    says: str
    """A regular expression that is found in what the program, or the check, says."""


KNOWN: Final[Mapping[str, Known]] = {
    "crane validate: finds the whole image's layers whole": Known(
        "crane unpacks every layer, and the field is JSON: use `--fast`, or validate partitions.",
        says=r"Manifests\[0\].*validating layers: gzip: invalid header",
    ),
}
