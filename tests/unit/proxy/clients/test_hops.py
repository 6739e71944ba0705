from collections.abc import Iterator

import pytest
from multidict import CIMultiDict, CIMultiDictProxy

from proxy.clients import hops


@pytest.fixture(autouse=True)
def _called() -> Iterator[None]:
    before = hops.name()
    hops.be_called("twodfs-proxy-ours")
    yield
    hops.arrive(headers())
    hops.be_called(before)


def headers(*via: str) -> CIMultiDictProxy[str]:
    return CIMultiDictProxy(CIMultiDict([("Via", one) for one in via]))


def sent() -> str:
    upstream: CIMultiDict[str] = CIMultiDict({"via": "what the client said of itself"})
    hops.leave(upstream)
    (line,) = upstream.getall("Via")
    return line


def test_a_request_upstream_names_us_behind_those_that_brought_it() -> None:
    hops.arrive(headers("1.0 fred", "1.1 twodfs-proxy-edge"))
    assert sent() == "1.0 fred, 1.1 twodfs-proxy-edge, 1.1 twodfs-proxy-ours"
    hops.arrive(headers())
    assert sent() == "1.1 twodfs-proxy-ours"


def test_a_request_that_was_here_goes_in_a_circle() -> None:
    with pytest.raises(hops.LoopError, match=r"upstream\.url leads to itself"):
        hops.arrive(headers("1.1 twodfs-proxy-ours, 1.1 balancer"))


def test_a_chain_of_caches_is_no_circle_and_replicas_that_send_round_are_one() -> None:
    chain = [f"1.1 twodfs-proxy-{number}" for number in range(8)]
    hops.arrive(headers(*chain[:7]))
    with pytest.raises(hops.LoopError):
        hops.arrive(headers(*chain))
