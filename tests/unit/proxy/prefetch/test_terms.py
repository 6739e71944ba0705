from datetime import UTC, datetime

import pytest

from proxy.prefetch.terms import TermsError, Window, parse_rate


@pytest.mark.parametrize(
    ("text", "rate"),
    [
        ("10Mbit", 1_250_000),
        ("1.25MB", 1_250_000),
        ("10 Mbit/s", 1_250_000),
        ("512kbit", 64_000),
        ("1Gbps", None),
        ("1Gbit", 125_000_000),
        ("8000bit", 1000),
        ("7999bit", None),
        ("0MB", None),
        ("10M", None),
        ("-1MB", None),
        ("", None),
    ],
)
def test_a_rate_is_in_bits_or_bytes_a_second(text: str, rate: float | None) -> None:
    if rate is None:
        with pytest.raises(TermsError, match="rate"):
            parse_rate(text)
    else:
        assert parse_rate(text) == rate


@pytest.mark.parametrize(
    ("window", "clock", "seconds"),
    [
        ("22:00-06:00", "22:00", 0),
        ("22:00-06:00", "05:59", 0),
        ("22:00-06:00", "06:00", 16 * 3600),
        ("22:00-06:00", "21:59", 60),
        ("01:30-02:00", "01:45", 0),
        ("01:30-02:00", "02:00", 23.5 * 3600),
        ("01:30-02:00", "00:30", 3600),
    ],
)
def test_a_window_says_how_long_it_is_closed(window: str, clock: str, seconds: float) -> None:
    hour, minute = map(int, clock.split(":"))
    assert Window.parse(window).wait(datetime(2026, 3, 4, hour, minute, tzinfo=UTC)) == seconds
    assert str(Window.parse(window)) == window


@pytest.mark.parametrize("text", ["22-06", "24:00-01:00", "10:60-11:00", "10:00", "10:00-10:00", ""])
def test_what_is_no_window_is_told(text: str) -> None:
    with pytest.raises(TermsError, match="window"):
        Window.parse(text)
