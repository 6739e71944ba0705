"""Where uploads go on, kept for a while and for one user."""

import os
import time
from pathlib import Path

from twodfs.oci.digest import digest_of
from twodfs.storage.uploads import MAX_AGE, BegunUploads

ONE, OTHER = digest_of(b"one"), digest_of(b"other")


def test_an_upload_is_known_by_repository_and_digest_until_it_is_forgotten(tmp_path: Path) -> None:
    uploads = BegunUploads(tmp_path, "r/a")
    assert uploads.recall(ONE) is None
    uploads.forget(ONE)
    uploads.keep(ONE, "http://r/first")
    uploads.keep(ONE, "http://r/second")
    assert (uploads.recall(ONE), uploads.recall(OTHER)) == ("http://r/second", None)
    assert BegunUploads(tmp_path, "r/b").recall(ONE) is None
    uploads.forget(ONE)
    assert uploads.recall(ONE) is None
    assert not list((tmp_path / "uploads").iterdir())


def test_old_ones_count_as_none_and_go_with_the_next(tmp_path: Path) -> None:
    uploads = BegunUploads(tmp_path, "r/a")
    uploads.keep(ONE, "http://r/first")
    (file,) = (tmp_path / "uploads").iterdir()
    assert file.stat().st_mode & 0o777 == 0o600
    os.utime(file, (time.time(), time.time() - MAX_AGE - 1))
    assert uploads.recall(ONE) is None
    uploads.keep(OTHER, "http://r/other")
    uploads.forget(OTHER)
    assert not list((tmp_path / "uploads").iterdir())


def test_a_file_that_is_none_counts_as_none(tmp_path: Path) -> None:
    uploads = BegunUploads(tmp_path, "r/a")
    for content in (b"", b"\xff", b"x" * 20_000):
        uploads.keep(ONE, "http://r/first")
        (file,) = (tmp_path / "uploads").iterdir()
        file.write_bytes(content)
        assert uploads.recall(ONE) is None
