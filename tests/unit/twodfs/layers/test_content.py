import os
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from twodfs.errors import BuildError
from twodfs.files import Stamp
from twodfs.layers.content import FileRange, MadeContent


def piece(path: Path, offset: int, size: int) -> FileRange:
    return FileRange(path, offset, size, Stamp.of(path.stat()))


@pytest.fixture
def alphabet(tmp_path: Path) -> Path:
    (tmp_path / "alphabet").write_bytes(b"abcdefghijklmnopqrstuvwxyz")
    return tmp_path / "alphabet"


def read(content: MadeContent, room: int = 4) -> bytes:
    return b"".join(map(bytes, content.read(memoryview(bytearray(room)))))


def test_pieces_are_put_together(alphabet: Path) -> None:
    content = MadeContent((b"header", piece(alphabet, 3, 9), b"", piece(alphabet, 0, 2), b"end"))
    assert (content.size, read(content)) == (20, b"headerdefghijklabend")


@given(st.integers(0, 25), st.integers(0, 25))
def test_an_excerpt_is_what_a_reader_sees(offset: int, size: int) -> None:
    here = Path(__file__)
    content = MadeContent((b"header", piece(here, 3, 9), b"", piece(here, 0, 2), b"end"))
    assert content.excerpt(offset, size) == read(content)[offset : offset + size]


def test_a_changed_file_is_seen(alphabet: Path) -> None:
    content = MadeContent((piece(alphabet, 0, 3),))
    content.check()
    alphabet.write_bytes(b"other")
    for look in (content.check, lambda: read(content), lambda: content.excerpt(0, 3)):
        with pytest.raises(BuildError, match=re.escape(f"{alphabet} changed while it was read")):
            look()
    alphabet.unlink()
    with pytest.raises(BuildError, match=re.escape(f"cannot read {alphabet}: No such file")):
        content.check()


def test_a_file_that_became_shorter_is_seen(alphabet: Path) -> None:
    content = MadeContent((piece(alphabet, 20, 6),))
    os.truncate(alphabet, 22)
    with pytest.raises(BuildError, match="changed while it was read"):
        read(content)


def test_keys_differ_with_what_would_be_read(alphabet: Path) -> None:
    (alphabet.parent / "same").write_bytes(alphabet.read_bytes())
    contents = [
        MadeContent((b"a", piece(alphabet, 0, 3))),
        MadeContent((b"b", piece(alphabet, 0, 3))),
        MadeContent((b"a", piece(alphabet, 1, 3))),
        MadeContent((b"a", piece(alphabet, 0, 2))),
        MadeContent((b"a", piece(alphabet.parent / "same", 0, 3))),
    ]
    assert len({one.key() for one in contents}) == len(contents)
    assert contents[0].key() == MadeContent((b"a", piece(alphabet, 0, 3))).key()
