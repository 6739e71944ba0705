"""Which answers a fill waits after, and for how long."""

import time
from email.utils import formatdate

import pytest
from multidict import CIMultiDict, CIMultiDictProxy

from proxy.edge.filling.source import PausedError, pause_of
from proxy.upstream.replies import RefusedError, Reply, UpstreamError


def refused(status: int, **headers: str) -> RefusedError:
    fields = CIMultiDict({name.replace("_", "-"): value for name, value in headers.items()})
    return RefusedError(Reply(status, "", CIMultiDictProxy(fields), b""))


@pytest.mark.parametrize("status", [400, 401, 403, 404, 410])
def test_a_no_is_for_good(status: int) -> None:
    assert pause_of(refused(status)) is None
    assert pause_of(refused(status, Retry_After="1")) is None


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503])
def test_a_failure_is_not(status: int) -> None:
    assert pause_of(refused(status)) == 0
    assert pause_of(refused(status, Retry_After="7")) == 7


@pytest.mark.parametrize("says", ["", "soon", "-1", "1e3", "٣", "Wed, 99 Xyz 2026 00:00:00 GMT"])
def test_what_cannot_be_understood_says_nothing(says: str) -> None:
    assert pause_of(refused(429, Retry_After=says)) == 0


def test_dates_and_long_times_are_bounded() -> None:
    assert pause_of(refused(429, Retry_After="86400")) == 30
    assert pause_of(refused(429, Retry_After=formatdate(time.time() + 3600, usegmt=True))) == 30
    assert pause_of(refused(429, Retry_After=formatdate(time.time() - 3600, usegmt=True))) == 0


def test_the_proxys_own_credentials_that_are_refused_are_for_good() -> None:
    assert pause_of(UpstreamError("refused", status=403)) is None
    assert pause_of(UpstreamError("no answer", status=504)) == 0
    assert pause_of(PausedError("busy", 3)) == 3
    assert pause_of(ConnectionResetError()) == 0
