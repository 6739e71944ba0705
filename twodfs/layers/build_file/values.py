"""Values of a build file: texts, numbers and modes. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, Final

from twodfs.errors import BuildFileError, FormatError
from twodfs.layers.build_file.keys import MODE
from twodfs.oci.documents import Json, expect
from twodfs.oci.platforms import Platform

_MODE: Final = re.compile(MODE)


def parse_number(value: object, key: str, largest: int) -> int:
    """Return a whole number from 0 to ``largest``."""
    # An integer beyond 64 bits is parsed as a float.
    number = value if isinstance(value, float) and abs(value) > largest else expect(value, int, key)
    if not 0 <= number <= largest:
        raise FormatError(f"{number} is outside 0..{largest}", key)
    return int(number)


def parse_mode(raw: Json) -> int | None:
    """Return the permission bits under ``mode``; None where there are none."""
    value = raw.get("mode")
    if value is None:
        return None
    if not isinstance(value, str) or not _MODE.fullmatch(value):
        raise FormatError(f"{value!r} is no mode; expected three or four octal digits in a string, as '0644'", "mode")
    return int(value, 8)


def parse_flag(raw: Json, key: str) -> bool | None:
    """Return true or false; None where neither is there."""
    value = raw.get(key)
    if value is not None and not isinstance(value, bool):
        raise FormatError(f"expected true or false, found {type(value).__name__}", key)
    return value


def one_or_more(raw: Json, key: str) -> Iterator[tuple[Any, str]]:
    """Yield the value under ``key``, or each of an array of them, with its path."""
    value: Any = raw.get(key)
    if isinstance(value, str | dict):
        yield value, key
        return
    for at, entry in enumerate(expect(value, list, key)):
        yield entry, f"{key}[{at}]"


def parse_texts(raw: Json, key: str) -> tuple[str, ...] | None:
    """Return the array of texts under ``key``; None where there is none."""
    value = raw.get(key)
    if value is None:
        return None
    entries = expect(value, list, key)
    return tuple(_plain(one, f"{key}[{at}]") for at, one in enumerate(entries))


def parse_text(raw: Json, key: str) -> str | None:
    """Return the text under ``key``, which is not empty; None where there is none."""
    value = raw.get(key)
    if value is None:
        return None
    if text := _plain(value, key):
        return text
    raise FormatError("expected a text, found none", key)


def parse_text_map(raw: Json, key: str) -> dict[str, str]:
    """Return the object of texts under ``key``; empty where there is none."""
    value = raw.get(key)
    members = {} if value is None else expect(value, dict, key)
    if "" in members:
        raise FormatError("a name is empty", key)
    return {_plain(name, key): _plain(text, f"{key}.{name}") for name, text in members.items()}


def parse_platforms_of(raw: Json) -> tuple[Platform, ...]:
    """Return the platforms under ``platform``; none where the key is not there."""
    if raw.get("platform") is None:
        return ()
    found = []
    for text, path in one_or_more(raw, "platform"):
        try:
            found.append(Platform.parse(expect(text, str, path)))
        except BuildFileError as error:
            raise FormatError(str(error), path) from None
    if not found:
        raise FormatError("expected at least one platform, found none", "platform")
    return tuple(found)


def _plain(value: object, path: str) -> str:
    text = expect(value, str, path)
    if "\0" in text:
        raise FormatError("a text has no NUL in it", path)
    return text
