"""Content that the other side of an export has: as ``cache ls --json`` there said, or as an earlier archive carried."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Final, TypeAlias

from proxy.cache.archive.facts import FACTS, MOST_FACTS, Facts
from twodfs.errors import BuildError, FormatError, within
from twodfs.files import open_file, read_file
from twodfs.images.archive import Archive
from twodfs.images.inflation import Inflation
from twodfs.images.layout import read_bounded
from twodfs.images.tarball import blob_path
from twodfs.oci.digest import Digest
from twodfs.oci.documents import digest_in, expect, list_in, parse_object

Holding: TypeAlias = Callable[[Digest], bool]
"""Says whether the other side has content."""

_MOST_LISTED: Final = 256 * 2**20


def read_holding(file: Path) -> Holding:
    """Return what ``file``, a list or an archive, says that the other side has.

    Raises:
        BuildError: it is neither, or cannot be read.
    """
    try:
        with open_file(file) as opened:
            is_list = opened.read(64).lstrip()[:1] == b"{"
        if is_list:
            return _listed(read_file(file, limit=_MOST_LISTED), file)
    except OSError as error:
        raise BuildError(f"cannot read {file}: {error.strerror}") from None
    with tempfile.TemporaryDirectory() as scratch, Archive(file, Path(scratch), Inflation()) as archive:
        left_out = frozenset[Digest]()
        if archive.has(FACTS):
            facts = Facts.decode(read_bounded(archive, FACTS, limit=MOST_FACTS), str(file))
            left_out = frozenset(facts.left_out or ())
        return lambda digest: digest in left_out or archive.has(blob_path(digest))


def _listed(body: bytes, file: Path) -> Holding:
    try:
        found = set()
        for at, one in enumerate(list_in(parse_object(body), "blobs")):
            with within(f"blobs[{at}]"):
                found.add(digest_in(expect(one, dict, "").get("digest"), "digest"))
    except FormatError as error:
        raise BuildError(f"{file} is no list of 'twodfs-proxy cache ls --json': {error}") from None
    return found.__contains__
