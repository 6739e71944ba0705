import pytest

from twodfs.errors import BuildFileError
from twodfs.sizes import parse_size, size_text


@pytest.mark.parametrize(
    ("size", "text"),
    [
        (None, "?"),
        (0, "0 B"),
        (999, "999 B"),
        (1000, "1 kB"),
        (1234, "1.23 kB"),
        (999_499, "999 kB"),
        (999_501, "1 MB"),
        (140_000_000_000, "140 GB"),
    ],
)
def test_sizes_have_three_digits(size: int | None, text: str) -> None:
    assert size_text(size) == text


@pytest.mark.parametrize(
    ("text", "size"),
    [("0", 0), ("1500", 1500), ("10GB", 10**10), ("1.5 GiB", 3 * 2**29), ("2k", 2000), ("7MiB", 7 * 2**20)],
)
def test_sizes_have_units(text: str, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "GB", "-1", "1e9", "10 bytes"])
def test_what_is_no_size_is_refused(text: str) -> None:
    with pytest.raises(BuildFileError, match="is no size"):
        parse_size(text)
