"""Terms of a job: how many bytes it may take from the line, and at which time of the day."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime, time, timedelta
from typing import Final

_RATE: Final = re.compile(r"(\d{1,9}(?:\.\d{1,6})?) ?([kKMG]?)(bit|B)(?:/s|ps)?")
_POWERS: Final = {"": 1, "k": 10**3, "K": 10**3, "M": 10**6, "G": 10**9}
_BITS: Final = 8
_LEAST_RATE: Final = 1000
_WINDOW: Final = re.compile(r"([01]\d|2[0-3]):([0-5]\d) ?- ?([01]\d|2[0-3]):([0-5]\d)")


class TermsError(ValueError):
    """A rate or a window that cannot be honoured; the message says what one looks like."""


def parse_rate(text: str) -> float:
    """Return the bytes per second that ``text`` says: ``10Mbit`` and ``1.25MB`` are the same.

    Raises:
        TermsError: it is no rate, or one at which nothing would ever come.
    """
    found = _RATE.fullmatch(text.strip())
    if found is None:
        raise TermsError(f"{text[:140]!r} is no rate; expected bits or bytes per second, as 10Mbit or 1.25MB")
    number, power, unit = found.groups()
    rate = float(number) * _POWERS[power] / (_BITS if unit == "bit" else 1)
    if rate < _LEAST_RATE:
        raise TermsError(f"{text!r} is too slow: a rate has at least {_LEAST_RATE * _BITS // 1000}kbit")
    return rate


@dataclass(frozen=True, slots=True)
class Window:
    """A part of each day, in the node's local time; over midnight where it ends before it begins."""

    begin: time
    end: time

    @classmethod
    def parse(cls, text: str) -> Window:
        """Return the window that ``text`` writes, as ``22:00-06:00``.

        Raises:
            TermsError: it writes none.
        """
        found = _WINDOW.fullmatch(text.strip())
        if found is None:
            raise TermsError(f"{text[:140]!r} is no window; expected two times of the day, as 22:00-06:00")
        hour, minute, last_hour, last_minute = map(int, found.groups())
        window = cls(time(hour, minute), time(last_hour, last_minute))
        if window.begin == window.end:
            raise TermsError(f"the window {text!r} has no length; leave it out for the whole day")
        return window

    def wait(self, now: datetime) -> float:
        """Return the seconds until it is open; 0 while it is."""
        clock = now.time()
        is_open = self.begin <= clock < self.end if self.begin < self.end else clock >= self.begin or clock < self.end
        if is_open:
            return 0.0
        opens = datetime.combine(now.date(), self.begin, now.tzinfo)
        return ((opens if opens > now else opens + timedelta(days=1)) - now).total_seconds()

    def __str__(self) -> str:
        return f"{self.begin:%H:%M}-{self.end:%H:%M}"
