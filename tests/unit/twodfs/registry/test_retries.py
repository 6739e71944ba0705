"""How patient `twodfs` is with a registry: no clock, no chance and no sleep but the test's."""

import pytest

from twodfs.errors import RegistryError
from twodfs.registry.retries import Attempts, Retries


def refused(retry_after: float | None = None, *, temporary: bool = True) -> RegistryError:
    return RegistryError(
        "busy", method="POST", url="http://r/", temporary=temporary, status=429, retry_after=retry_after
    )


class Time:
    """A clock that goes on when somebody sleeps, or when an attempt takes its time."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.sleeps: list[float] = []

    def sleep(self, seconds: float) -> None:
        self.sleeps.append(seconds)
        self.now += seconds


def tried(error: RegistryError, *, attempt: float = 0.0, is_transfer: bool = False) -> Time:
    """Return what time went by until patience ended; each attempt takes `attempt` seconds."""
    time = Time()
    patience = Attempts(
        Retries(),
        lambda: True,
        is_transfer=is_transfer,
        clock=lambda: time.now,
        chance=lambda: 0.5,
        sleep=time.sleep,
    )
    time.now += attempt
    while patience.waits_after(error):
        time.now += attempt
    return time


def test_a_retry_after_of_nothing_still_backs_off() -> None:
    usual = tried(refused()).sleeps
    assert usual == pytest.approx([0.225, 0.45, 0.9, 1.8, 3.6, 7.2, 14.4])
    assert tried(refused(0)).sleeps == usual


def test_what_a_registry_asks_for_is_waited_as_well_and_no_two_clients_come_back_together() -> None:
    assert tried(refused(2)).sleeps == pytest.approx([2.225, 2.45, 2.9, 3.8, 5.6, 9.2, 16.4])
    assert len({Retries().delay(0, 5.0) for _ in range(20)}) > 1


@pytest.mark.parametrize("asked", [0, 20, 3600, 10**9])
@pytest.mark.parametrize("is_transfer", [False, True])
def test_all_waits_together_are_bounded_whatever_the_registry_asks_for(
    asked: float,
    is_transfer: bool,  # noqa: FBT001
) -> None:
    assert sum(tried(refused(asked), is_transfer=is_transfer).sleeps) <= Retries().in_all


def test_requests_that_hang_are_given_up_after_a_time_in_all() -> None:
    hung = tried(refused(), attempt=60.0)
    assert len(hung.sleeps) == 2  # three attempts of a minute
    assert hung.now - 1000 < Retries().in_all + 60


def test_a_transfer_may_take_as_long_as_it_likes_and_be_tried_again() -> None:
    assert len(tried(refused(), attempt=3600.0, is_transfer=True).sleeps) == Retries().attempts - 1


def test_what_will_not_pass_is_not_waited_for() -> None:
    assert tried(refused(0, temporary=False)).sleeps == []
