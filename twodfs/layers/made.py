"""Files and links of an image that are no files on the disk: objects in the place of a path in ``src``.

::

    {"text": "{}"}
    {"link": "../../model.safetensors"}
    {"safetensors": ["model-00001-of-00002.safetensors"], "tensors": ["model.layers.0.*"]}

The last is a safetensors file of those tensors that ``tensors`` names or matches, of all where it is left out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from twodfs.errors import FormatError, within
from twodfs.layers.content import FileRange, MadeContent
from twodfs.layers.destinations import MAX_PATH
from twodfs.models.safetensors import read_header
from twodfs.models.subset import join, pick
from twodfs.oci.documents import Json, expect

MADE_KEYS: Final = (("text",), ("link",), ("safetensors", "tensors"))
"""The keys of each kind of object; the first of each is required."""


@dataclass(frozen=True, slots=True)
class Made:
    """A file or a link.

    Attributes:
        content: of a file; None for a link.
        link: what a link says; empty for a file.
    """

    content: MadeContent | None = None
    link: str = ""


def parse_made(raw: Json, directory: Path) -> Made:
    """Return what the object ``raw`` describes; its files are relative to ``directory``, and their headers are read.

    Raises:
        FormatError: malformed, or a file of tensors is; with the path below the object.
    """
    kind = next((keys for keys in MADE_KEYS if keys[0] in raw), None)
    unknown = next((key for key in raw if key not in (kind or ())), None)
    if kind is None or unknown is not None:
        known = " or ".join("/".join(keys) for keys in MADE_KEYS)
        raise FormatError(f"expected a path or an object with {known}, found {', '.join(map(repr, raw))[:140]}")
    if kind[0] == "text":
        try:
            return Made(MadeContent((expect(raw["text"], str, "text").encode(),)))
        except UnicodeEncodeError:
            raise FormatError("a text has no half characters", "text") from None
    if kind[0] == "link":
        return Made(link=_link(expect(raw["link"], str, "link")))
    files = []
    for at, name in enumerate(_texts(raw["safetensors"], "safetensors")):
        with within(f"safetensors[{at}]"):
            files.append(read_header(directory / name))
    patterns = _texts(raw.get("tensors", ["*"]), "tensors")
    with within("tensors"):
        header, parts = join(pick(files, patterns))
    ranges = (FileRange(one.file.path, one.offset, one.size, one.file.stamp) for one in parts)
    return Made(MadeContent((header, *ranges)))


def _link(text: str) -> str:
    if not text or "\0" in text or len(text.encode("utf-8", "surrogateescape")) > MAX_PATH:
        raise FormatError(f"a link says where it leads, in {MAX_PATH} bytes at most and without NUL", "link")
    return text


def _texts(value: object, key: str) -> Sequence[str]:
    entries = expect(value, list, key)
    if not entries:
        raise FormatError("expected at least one, found none", key)
    for at, entry in enumerate(entries):
        if not expect(entry, str, f"{key}[{at}]") or "\0" in entry:
            raise FormatError("expected a text without NUL, found none", f"{key}[{at}]")
    return entries
