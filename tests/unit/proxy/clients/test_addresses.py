import ipaddress

import pytest
from aiohttp import web
from aiohttp.test_utils import make_mocked_request

from proxy.clients.addresses import ClientAddresses

TRUSTED = tuple(map(ipaddress.ip_network, ("10.0.0.0/8", "fd00::/8")))


def request(remote: str, **headers: str) -> web.BaseRequest:
    given = {name.replace("_", "-"): value for name, value in headers.items()}
    return make_mocked_request("GET", "/", headers=given).clone(remote=remote)


@pytest.mark.parametrize(
    ("remote", "forwarded", "expected"),
    [
        ("192.0.2.1", "", "192.0.2.1"),
        ("192.0.2.1", "198.51.100.1", "192.0.2.1"),
        ("10.0.0.1", "198.51.100.1", "198.51.100.1"),
        ("10.0.0.1", "", "10.0.0.1"),
        ("10.0.0.1", "6.6.6.6, 198.51.100.1", "198.51.100.1"),
        ("10.0.0.1", "6.6.6.6, 198.51.100.1, 10.9.9.9", "198.51.100.1"),
        ("10.0.0.1", "10.1.1.1, 10.2.2.2", "10.1.1.1"),
        ("10.0.0.1", "198.51.100.1, nonsense", "10.0.0.1"),
        ("10.0.0.1", "nonsense, 10.3.3.3", "10.3.3.3"),
        ("::ffff:10.0.0.1", "198.51.100.1", "198.51.100.1"),
        ("fd00::1", "2001:db8::5", "2001:db8::5"),
    ],
)
def test_the_last_address_that_a_trusted_proxy_saw_counts(remote: str, forwarded: str, expected: str) -> None:
    headers = {"X_Forwarded_For": forwarded} if forwarded else {}
    assert ClientAddresses(TRUSTED).address(request(remote, **headers)) == expected


def test_addresses_of_one_ipv6_subscriber_share() -> None:
    clients = ClientAddresses()
    first, second, other = (request(one) for one in ("2001:db8::1", "2001:db8::ffff", "2001:db8:0:1::1"))
    assert clients.rate_limit_key(first) == clients.rate_limit_key(second) == "2001:db8::/64"
    assert clients.rate_limit_key(other) != clients.rate_limit_key(first)
    assert clients.rate_limit_key(request("192.0.2.1")) == "192.0.2.1"


@pytest.mark.parametrize(
    ("remote", "headers", "expected"),
    [
        ("192.0.2.1", {}, "http://own.example:5000"),
        ("192.0.2.1", {"X_Forwarded_Proto": "https", "X_Forwarded_Host": "evil"}, "http://own.example:5000"),
        ("10.0.0.1", {"X_Forwarded_Proto": "https"}, "https://own.example:5000"),
        ("10.0.0.1", {"X_Forwarded_Host": "front.example"}, "http://front.example"),
        (
            "10.0.0.1",
            {"X_Forwarded_Proto": "gopher, https", "X_Forwarded_Host": "x, y.example"},
            "https://y.example",
        ),
        ("10.0.0.1", {"X_Forwarded_Proto": "javascript"}, "http://own.example:5000"),
    ],
)
def test_our_origin_is_what_a_trusted_proxy_says(remote: str, headers: dict[str, str], expected: str) -> None:
    assert ClientAddresses(TRUSTED).origin(request(remote, Host="own.example:5000", **headers)) == expected


def test_a_public_url_is_final() -> None:
    clients = ClientAddresses(TRUSTED, "https://public.example")
    assert clients.origin(request("10.0.0.1", Host="a", X_Forwarded_Host="b")) == "https://public.example"
