"""Readers learn how far a file has come, and what becomes of it."""

import asyncio

import aiohttp
import pytest

from proxy.edge.filling.growth import HELD_BACK, Fate, Growth


def grown(size: int) -> tuple[Growth, list[bool]]:
    closed: list[bool] = []
    return Growth(-1, size, lambda: closed.append(True)), closed


async def test_the_end_is_held_back_until_the_digest_is_right() -> None:
    growth, _ = grown(3 * HELD_BACK)
    growth.advance(HELD_BACK)
    assert growth.released == HELD_BACK
    growth.advance(3 * HELD_BACK)
    assert growth.released == 2 * HELD_BACK
    growth.finish()
    assert growth.released == 3 * HELD_BACK


async def test_nothing_of_a_small_blob_leaves_before() -> None:
    growth, _ = grown(10)
    growth.advance(10)
    assert growth.released == 0


async def test_all_who_wait_are_woken_at_each_progress() -> None:
    growth, _ = grown(10)
    for step in (growth.strive, lambda: growth.advance(1), lambda: growth.advance(2), growth.finish):
        waiting = [asyncio.ensure_future(growth.changed()) for _ in range(3)]
        await asyncio.sleep(0)
        growth.advance(growth.available)  # that is none
        await asyncio.sleep(0)
        assert not any(one.done() for one in waiting)
        step()
        async with asyncio.timeout(5):
            await asyncio.gather(*waiting)


async def test_what_became_of_it_stays() -> None:
    growth, _ = grown(10)
    growth.cut("other content")
    growth.finish()
    growth.abandon()
    assert growth.fate is Fate.CUT
    with pytest.raises(aiohttp.ClientPayloadError, match="other content"):
        growth.check()


async def test_the_last_one_closes_the_file() -> None:
    growth, closed = grown(10)
    growth.use()
    growth.leave()
    assert not closed
    growth.leave()
    assert closed == [True]
