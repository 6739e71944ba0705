"""Patterns of repository names, as operators write them: ``*`` within a part of the name, ``**`` across.

Names come from clients. An expression that tries every way to share a name among its stars would take time
with the power of their number; one here takes the first place where a text between two stars stands and never
gives it back, which is right, since a later place leaves less for the rest. The cost is the length of a
name times that of one of its parts, however many stars there are.
"""

from __future__ import annotations

import re


def expression(pattern: str) -> str:
    """Return ``pattern`` as a regular expression for ``fullmatch``."""
    first, *others = pattern.split("**")
    if not others:
        return _group(first, is_last=True)
    *middle, last = others
    floating = "".join(f"(?>.*?{_group(one, is_last=False)})" for one in middle)
    return f"{_group(first, is_last=False)}{floating}.*?{_group(last, is_last=True)}"


def _group(text: str, *, is_last: bool) -> str:
    """Return the pattern between two ``**``; the end of the last of these is the name's."""
    literal, *others = map(re.escape, text.split("*"))
    steps = [f"(?>[^/]*?{one})" for one in others]
    if is_last and steps:
        steps[-1] = f"[^/]*{others[-1]}"
    return literal + "".join(steps)
