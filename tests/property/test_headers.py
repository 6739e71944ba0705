"""Header values of clients and registries: each is one thing or none, and is read in time with its length."""

import asyncio
import math
import re
from collections.abc import Callable
from ipaddress import ip_address, ip_network
from types import SimpleNamespace
from typing import Any
from urllib.parse import urlsplit

from hypothesis import example, given, settings
from hypothesis import strategies as st
from multidict import CIMultiDict, CIMultiDictProxy

from proxy.auth.access_control import _authorization, _user_and_password
from proxy.auth.realm import RealmPolicy, Realms
from proxy.clients.addresses import ClientAddresses
from proxy.handlers import documents
from proxy.handlers.headers import LocationRewriter, forwarded_request
from proxy.metrics.exposition import render
from proxy.partitions.content import Contents
from proxy.partitions.source import accepts_indexes
from proxy.repository import Repository
from proxy.upstream.replies import Reply, UpstreamError
from tests.lab.work import grows_with_its_input
from tests.property.strategies import ADDRESSES, CHALLENGES, DIGEST, pieces
from twodfs.errors import RegistryError
from twodfs.oci.digest import Digest
from twodfs.oci.documents import INDEX_TYPES, OCI_INDEX, Document
from twodfs.registry.auth import parse_challenges
from twodfs.registry.exchange import located
from twodfs.registry.message import _seconds

CLIENTS = ClientAddresses(public_url="https://public.example")
ORIGINS = LocationRewriter(("http://registry.example:5000",), CLIENTS)
REALMS = Realms(RealmPolicy(("https://registry.example",), ("auth.example:443",)))
WITH_REALMS = LocationRewriter(("https://registry.example",), CLIENTS, realms=REALMS)
BODY = bytes(range(100))
OURS = Document.of(OCI_INDEX, {"manifests": []})
LINKS = pieces("<", ">", ";", "rel=", '"next"', ",", "http://registry.example:5000", "/v2/a?n=1", "http://x", " ")
NUMBERS = pieces("0", "5", "100", "-", "*", "/", "bytes ", "9" * 30, "٣", " ", "+", "1e3", ".")


def asked(method: str = "GET", remote: str = "10.0.0.1", **headers: str) -> Any:
    """Return what is looked at of a request; a whole one takes milliseconds to make."""
    given = _headers(**headers)
    return SimpleNamespace(
        method=method, headers=given, remote=remote, scheme="http", transport=None, get=lambda _: None
    )


def printable(text: str) -> str:
    """Return what of `text` can stand in a header at all: aiohttp refuses the rest."""
    return "".join(one for one in text if one >= " " and one != "\x7f")


SPANS = st.builds("bytes={}-{}".format, st.integers(0, 120), st.integers(0, 120))


@given(st.sampled_from(["GET", "HEAD"]), SPANS | NUMBERS | st.builds("bytes={}".format, NUMBERS))
def test_a_range_is_answered_with_the_bytes_it_is_said_to_be(method: str, header: str) -> None:
    document = Document("x/y", Digest(DIGEST), BODY)
    answer: Any = documents.blob(document, asked(method, Range=printable(header)))
    assert answer.status in (200, 206, 416)
    if answer.status == 206:
        first, last, size = map(int, re.split("[-/]", answer.headers["Content-Range"].removeprefix("bytes ")))
        assert bytes(answer.body.content) == BODY[first : last + 1]
        assert 0 <= first <= last < size == len(BODY)


@given(pieces('"', "W/", ",", " ", "*", DIGEST, f'"{OURS.digest}"', "x", "\\"))
def test_a_document_is_withheld_only_from_who_names_it(header: str) -> None:
    response = documents.manifest(OURS, asked(If_None_Match=printable(header)))
    if response.status == 304:
        assert f'"{OURS.digest}"' in header or "*" in header
    else:
        assert response.status == 200


ACCEPTS = pieces(*sorted(INDEX_TYPES), "*/*", ",", ";", "q=", "0.5", " ", "application/", "openmetrics-text", "text/")


@given(ACCEPTS | pieces("application/openmetrics-text", ";", "version=", "1.0.0", "escaping=", "x", ",", "=", "9"))
def test_any_accept_is_understood(header: str) -> None:
    if accepts_indexes(header):
        assert any(one in header for one in INDEX_TYPES)
    body, content_type = render({}, header)
    assert isinstance(body, bytes)
    assert "\n" not in content_type


DATES = pieces("Sun, ", "06 ", "Nov ", "1994 ", "08:49:37 ", "GMT", "99999", "-0000", "+9999", "0", ":", "Feb ", "30 ")


@given(DATES | NUMBERS | st.text(max_size=20))
def test_retry_after_is_a_wait_or_nothing(header: str) -> None:
    seconds = _seconds(header)
    assert seconds is None or (seconds >= 0 and not math.isnan(seconds))


class Answers:
    """A registry that says these of a blob, and of its first byte."""

    def __init__(self, length: str | None, content_range: str, status: int) -> None:
        self._head = Reply(200 if length is not None else 401, "", _headers(Content_Length=length), b"")
        self._part = Reply(status, "", _headers(Content_Range=content_range, Content_Length=length), b"")

    async def head(self, *_: object) -> Reply:
        return self._head

    async def first_byte(self, *_: object) -> Reply:
        return self._part


def _headers(**values: str | None) -> CIMultiDictProxy[str]:
    given = ((name.replace("_", "-"), value) for name, value in values.items() if value is not None)
    return CIMultiDictProxy(CIMultiDict(given))


@given(st.none() | NUMBERS, NUMBERS | st.builds("bytes 0-0/{}".format, NUMBERS), st.sampled_from([200, 206]))
def test_a_blobs_size_is_a_number_that_the_registry_wrote(length: str | None, part: str, status: int) -> None:
    registry: Any = SimpleNamespace(_upstreams={"": Answers(length, part, status)})
    try:
        size = asyncio.run(Contents._ask_size(registry, Repository("", "a"), Digest(DIGEST), None))  # type: ignore[arg-type]
    except UpstreamError as error:
        assert DIGEST in str(error)
        return
    assert 0 <= size < 2**63
    assert str(size) in {text.lstrip("0") or "0" for text in (length or "", part.rpartition("/")[2])}


class Asked:
    """Enough of a request of the command line: it makes its errors."""

    def failed(self, problem: str, **_: object) -> RegistryError:
        return RegistryError(problem, method="GET", url="https://registry.example/")


@given(st.sampled_from(["http", "https"]), ADDRESSES)
def test_a_location_is_followed_to_an_address_and_never_away_from_tls(scheme: str, location: str) -> None:
    at = f"{scheme}://registry.example/v2/a"
    try:
        url = located(Asked(), at, location)  # type: ignore[arg-type]
    except RegistryError:
        return
    assert urlsplit(url).scheme in (("https",) if scheme == "https" else ("http", "https"))


@given(LINKS, ADDRESSES)
def test_what_is_rewritten_of_an_answer_leads_to_us_or_is_as_it_was(link: str, location: str) -> None:
    given = _headers(Link=link, Location=location, Connection="x-hop", X_Hop="1", ETag='"a"')
    sent = ORIGINS.forwarded_response(given, asked())
    assert "X-Hop" not in sent
    assert sent["ETag"] == '"a"'
    assert sent["Location"] == location or sent["Location"].startswith("https://public.example/")
    assert link.count("<") >= sent["Link"].count("https://public.example")
    if "registry.example" not in link:
        assert sent["Link"] == link


@given(CHALLENGES)
def test_a_challenge_that_is_rewritten_has_our_realm_or_is_as_it_was(header: str) -> None:
    sent = WITH_REALMS.forwarded_response(_headers(WWW_Authenticate=header), asked())["WWW-Authenticate"]
    if sent != header:
        realms = [one.parameters.get("realm", "") for one in parse_challenges([sent])]
        assert any(one.startswith("https://public.example/") for one in realms)
    assert sent.count("\n") == header.count("\n")


@given(pieces("Basic ", "Bearer ", "dXNlcjpwYXNz", "=", "%", "é", " ", "OjE=", "\x80", "a" * 70))
def test_authorization_is_a_scheme_and_the_rest(header: str) -> None:
    scheme, rest = _authorization(asked(Authorization=printable(header)))
    assert scheme == scheme.lower()
    user, password = _user_and_password(rest)
    assert ":" not in user
    assert isinstance(password, str)


FORWARDED = pieces("10.0.0.1", "::1", "fe80::1%", "eth0", ",", " ", "unknown", "[", "]", ":80", "::ffff:10.0.0.9", "_x")


@given(
    FORWARDED,
    pieces("registry.example", ":", "443", "/", "@", "[::1]", ",", " ", "<", "é"),
    st.sampled_from(["10.0.0.0/8", "192.0.2.0/24"]),
)
def test_what_proxies_say_of_a_client_is_an_address_and_an_origin(forwarded: str, host: str, trusted: str) -> None:
    clients = ClientAddresses([ip_network(trusted)])
    given = {
        "X_Forwarded_For": printable(forwarded),
        "X_Forwarded_Host": printable(host),
        "Host": printable(host),
    }
    request = asked(**given)
    assert ip_address(clients.address(request))
    assert clients.rate_limit_key(request)
    origin = urlsplit(clients.origin(request))
    assert origin.scheme == "http"
    assert not origin.path
    assert origin.username is None


@given(st.dictionaries(st.sampled_from(["Connection", "X-A", "x_forwarded_for", "Keep-Alive", "TE"]), LINKS))
def test_what_a_client_nominates_stays_behind(given: dict[str, str]) -> None:
    sent = forwarded_request(CIMultiDictProxy(CIMultiDict(given)), is_trusted=False)
    nominated = {name.strip().lower() for name in given.get("Connection", "").split(",")}
    assert not nominated & {name.lower() for name in sent if name.lower() != "accept-encoding"}
    assert "x_forwarded_for" not in sent


READERS: dict[str, Callable[[str], object]] = {
    "Link": lambda text: ORIGINS.forwarded_response(_headers(Link=text), asked()),
    "Location": lambda text: ORIGINS.forwarded_response(_headers(Location=text), asked()),
    "WWW-Authenticate": lambda text: WITH_REALMS.forwarded_response(_headers(WWW_Authenticate=text), asked()),
    "Range": lambda text: documents.byte_range(text, 100),
    "If-None-Match": lambda text: documents.manifest(OURS, asked(If_None_Match=printable(text))),
    "Accept": accepts_indexes,
    "Retry-After": _seconds,
    "Authorization": lambda text: _user_and_password(_authorization(asked(Authorization=printable(text)))[1]),
    "X-Forwarded-For": lambda text: CLIENTS.address(asked(X_Forwarded_For=printable(text))),
    "Connection": lambda text: forwarded_request(_headers(Connection=text), is_trusted=False),
}
PUMPS = LINKS | CHALLENGES | NUMBERS | DATES | ACCEPTS | FORWARDED | ADDRESSES


@given(st.sampled_from(sorted(READERS)), PUMPS, PUMPS, PUMPS)
@example("Link", "", "<", "")
@example("Link", "", "<a", ">")
@settings(max_examples=100, deadline=None)
def test_each_header_is_read_in_time_with_its_length(name: str, prefix: str, pump: str, suffix: str) -> None:
    def read(many: int) -> Callable[[], object]:
        text = prefix + (pump or "<") * (many // max(1, len(pump))) + suffix
        return lambda: READERS[name](text)

    assert grows_with_its_input(read, 2048)
