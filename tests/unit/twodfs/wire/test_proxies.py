"""Which proxy the environment names; the cases of NO_PROXY are those of golang.org/x/net/http/httpproxy."""

import pytest

from twodfs.wire.failures import WireError
from twodfs.wire.proxies import Proxy, proxy_url

PROXY = "http://proxy.example:3128"


@pytest.mark.parametrize(
    ("exceptions", "host", "port", "proxied"),
    [
        ("", "example.com", 443, 1),
        ("*", "example.com", 443, 0),
        ("other.example, *", "192.0.2.1", 443, 0),
        ("example.com", "example.com", 443, 0),
        ("example.com", "registry.example.com", 443, 0),
        ("example.com", "badexample.com", 443, 1),
        ("example.com", "example.com.org", 443, 1),
        (".example.com", "registry.example.com", 443, 0),
        (".example.com", "example.com", 443, 1),
        ("*.example.com", "registry.example.com", 443, 0),
        ("*.example.com", "example.com", 443, 1),
        ("EXAMPLE.com", "Example.COM", 443, 0),
        ("example.com:5000", "example.com", 5000, 0),
        ("example.com:5000", "example.com", 443, 1),
        (".example.com:5000", "a.example.com", 5000, 0),
        ("192.0.2.1", "192.0.2.1", 443, 0),
        ("192.0.2.1", "192.0.2.10", 443, 1),
        ("192.0.2.1:5000", "192.0.2.1", 5000, 0),
        ("192.0.2.1:5000", "192.0.2.1", 443, 1),
        ("192.0.2.0/24", "192.0.2.77", 443, 0),
        ("192.0.2.0/24", "192.0.3.77", 443, 1),
        ("192.0.2.0/99", "192.0.2.77", 443, 1),
        ("192.0.2.0/24", "example.com", 443, 1),
        ("2001:db8::/32", "2001:db8::1", 443, 0),
        ("2001:db8::1", "2001:db8:0::1", 443, 0),
        ("[2001:db8::1]:5000", "2001:db8::1", 5000, 0),
        ("[2001:db8::1]:5000", "2001:db8::1", 443, 1),
        (" ,:5000, a.example ,example.com", "example.com", 443, 0),
        (",:443", "example.com", 443, 1),
    ],
)
def test_no_proxy_is_read_as_go_reads_it(exceptions: str, host: str, port: int, proxied: int) -> None:
    environment = {"HTTPS_PROXY": PROXY, "NO_PROXY": exceptions}
    assert proxy_url("https", host, port, environment) == (PROXY if proxied else None)


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "127.9.9.9", "::1"])
def test_this_machine_is_never_asked_through_a_proxy(host: str) -> None:
    assert proxy_url("https", host, 5000, {"HTTPS_PROXY": PROXY}) is None


def test_each_scheme_has_a_variable_of_its_own_and_capitals_win() -> None:
    environment = {"http_proxy": "http://small:1", "HTTP_PROXY": "http://capital:1"}
    assert proxy_url("http", "example.com", 80, environment) == "http://capital:1"
    assert proxy_url("https", "example.com", 443, environment) is None
    forged = {"HTTP_PROXY": "http://forged:1", "REQUEST_METHOD": "GET"}
    assert proxy_url("http", "example.com", 80, forged) is None
    assert proxy_url("https", "a.example", 443, {"https_proxy": PROXY, "no_proxy": "a.example"}) is None


@pytest.mark.parametrize("url", ["socks5://proxy:1080", "http://proxy:99999", "http://", "https://proxy"])
def test_a_proxy_that_cannot_be_spoken_to_is_told(url: str) -> None:
    with pytest.raises(WireError, match="no http:// address"):
        Proxy.parse(url)
