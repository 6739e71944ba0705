"""Which origin is asked, and how long one is left alone."""

import pytest

from proxy.upstream.origins import OriginPool

URLS = ("http://a", "http://b", "http://c")


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [1000.0]
    monkeypatch.setattr("proxy.upstream.origins.time.monotonic", lambda: now[0])
    return now


def test_the_first_that_is_up_is_asked_first() -> None:
    pool = OriginPool(URLS)
    first, second, third = pool.all
    assert pool.order() == (first, second, third)
    pool.failed(first, "refused")
    assert pool.order() == (second, third)
    pool.answered(first)
    assert pool.order() == (first, second, third)


def test_round_robin_begins_with_each_in_turn() -> None:
    pool = OriginPool(URLS, "round-robin")
    assert {pool.order()[0].url for _ in range(3)} == set(URLS)
    assert all(set(pool.order()) == set(pool.all) for _ in range(3))


def test_with_all_down_all_are_tried() -> None:
    pool = OriginPool(URLS)
    for origin in pool.all:
        pool.failed(origin, "refused")
    assert pool.order() == pool.all


def test_a_pause_grows_to_half_a_minute_and_begins_anew_after_an_answer(clock: list[float]) -> None:
    pool = OriginPool(URLS)
    origin = pool.all[0]
    pauses = []
    for _ in range(7):
        pool.failed(origin, "refused")
        pauses.append(origin.pause)
        clock[0] += origin.pause
    assert pauses == [1, 2, 4, 8, 16, 30, 30]
    pool.answered(origin)
    pool.failed(origin, "refused")
    assert origin.pause == 1


def test_failures_of_one_moment_count_once(clock: list[float]) -> None:
    pool = OriginPool(URLS)
    origin = pool.all[0]
    for _ in range(50):
        pool.failed(origin, "refused")
    assert (origin.pause, origin.probe_at) == (1, clock[0] + 1)
