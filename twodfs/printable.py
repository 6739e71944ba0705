r"""Foreign text as it may be shown: nothing in it moves the cursor, turns the line round or hides.

Messages of registries, names in images and paths of requests come from others. A terminal obeys control
characters (U+009B begins a command as ESC [ does), and right-to-left overrides (U+202E) make a line
say something else. Such characters are written as JSON writes them, ``\u202e``, so JSON stays the same
document.
"""

from __future__ import annotations

import re
from typing import Final

LAYOUT: Final = "\n\t"
_CONTROL: Final = re.compile(r"[\x00-\x08\x0b-\x1f\x7f]")
"""ASCII's own, but those of the layout."""
_UNSEEN: Final = frozenset({"Cc", "Cf", "Zl", "Zp"})
"""Unicode's categories of control, format, line and paragraph characters."""


def printable(text: str, *, kept: str = "") -> str:
    """Return ``text`` with all control, format and bidirectional characters escaped but those in ``kept``."""
    is_laid_out = kept == LAYOUT and text.isascii() and not _CONTROL.search(text)
    if is_laid_out or text.isprintable():  # nearly always
        return text
    from unicodedata import category  # noqa: PLC0415 - most commands end without it

    return "".join(_escaped(one) if one not in kept and category(one) in _UNSEEN else one for one in text)


def _escaped(character: str) -> str:
    units = character.encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{units[at]:02x}{units[at + 1]:02x}" for at in range(0, len(units), 2))
