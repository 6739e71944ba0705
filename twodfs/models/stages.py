"""Consecutive columns dealt out to the stages of a pipeline, balanced by bytes. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate

from twodfs.errors import FormatError


def balance(sizes: Sequence[int], stages: int) -> list[range]:
    """Return the columns of each of ``stages``, so that the biggest is as small as it can be; all have at least one.

    Args:
        sizes: bytes of each column.
        stages: how many; from 1.

    Raises:
        FormatError: there are fewer columns than stages.
    """
    if stages > len(sizes):
        raise FormatError(f"{stages} stages need at least as many columns, and there are {len(sizes)}")
    ends = list(accumulate(sizes, initial=0))
    room = _least_room(sizes, ends, stages)
    needed = _needed(ends, room)
    found: list[range] = []
    begin = 0
    for left in range(stages, 0, -1):
        # Its share of the bytes that are left, so that the last is not the smallest by far; and as many columns as
        # it has to take, for the others to have room for the rest.
        share = (ends[-1] - ends[begin]) / left
        end = begin + 1
        while needed[end] >= left or (
            len(sizes) - end >= left
            and ends[end + 1] - ends[begin] <= room
            and ends[end + 1] - ends[begin] - share <= share - (ends[end] - ends[begin])
        ):
            end += 1
        found.append(range(begin, end))
        begin = end
    return found


def _least_room(sizes: Sequence[int], ends: Sequence[int], stages: int) -> int:
    """Return the bytes that the biggest stage has at the least."""
    least, most = max(sizes), ends[-1]
    while least < most:
        middle = (least + most) // 2
        if _needed(ends, middle)[0] <= stages:
            most = middle
        else:
            least = middle + 1
    return most


def _needed(ends: Sequence[int], room: int) -> list[int]:
    """Return, for each column, how many stages of at most ``room`` bytes it and those behind it need."""
    count = len(ends) - 1
    needed = [0] * (count + 1)
    end = count
    for begin in range(count - 1, -1, -1):
        while ends[end] - ends[begin] > room:
            end -= 1
        needed[begin] = 1 + needed[end]
    return needed
