"""Work grows with what comes in, and no faster: one event loop serves everybody."""

import contextlib
import re
import time
from collections.abc import Callable
from functools import partial
from ipaddress import ip_network
from itertools import product

import pytest
from aiohttp import web
from aiohttp.test_utils import make_mocked_request
from hypothesis import given, settings
from hypothesis import strategies as st
from multidict import CIMultiDict, CIMultiDictProxy

from proxy.auth.access_control import AccessRule
from proxy.auth.realm import RealmPolicy, Realms
from proxy.clients.addresses import ClientAddresses
from proxy.config import RuleConfig
from proxy.globs import expression
from proxy.handlers.documents import byte_range
from proxy.handlers.headers import LocationRewriter, forwarded_request
from proxy.logs import redacted
from proxy.metrics.catalogue import Repositories
from proxy.partitions.source import accepts_indexes
from proxy.repository import DEFAULT_UPSTREAM, Repository
from proxy.requests.parsing import parse
from proxy.requests.scope import Scope, ScopeError
from tests.property.expressions import ENDS, Expression, expressions
from twodfs.errors import InvalidReferenceError
from twodfs.field.partition import readings
from twodfs.oci.reference import Reference
from twodfs.registry.auth import parse_challenges

SHORT, LONG, LONGEST = 500, 2_000, 8_000
FLOOR = 0.004
"""Seconds of this thread's processor that nobody would notice, and that noise does not reach."""
MOST = 8
"""Times the work that four times the text may take: 4 is linear, 16 is quadratic."""


def seconds(work: Callable[[], object], repeats: int = 1) -> float:
    least = float("inf")
    for _ in range(repeats):
        began = time.thread_time()
        work()
        least = min(least, time.thread_time() - began)
    return least


def grows_too_fast(work: Callable[[str], object], text: Callable[[int], str]) -> bool:
    """Say whether ``work`` on a text of four times the length takes much more than four times as long.

    A text whose work is not worth a second look is not measured twice.
    """
    taken = 0.0
    for size in (SHORT, LONG, LONGEST):
        long, before = text(size), taken
        taken = seconds(partial(work, long))
        if taken > FLOOR and taken > MOST * before:
            short = text(size // 4)
            if seconds(partial(work, long), 3) > max(FLOOR, MOST * seconds(partial(work, short), 3)):
                return True
    return False


@pytest.mark.parametrize("expression", expressions("twodfs", "proxy"), ids=str)
def test_every_expression_takes_time_that_is_linear_in_its_text(expression: Expression) -> None:
    for (lead, pump), end, method in product(expression.pumps(), ENDS, expression.uses):
        assert not grows_too_fast(
            lambda text, method=method: expression.apply(method, text),  # type: ignore[misc]
            lambda size, lead=lead, pump=pump, end=end: lead + pump * (size // len(pump)) + end,  # type: ignore[misc]
        ), f"{method} of {lead!r} + many {pump!r} + {end!r}"


def heads(name: str, value: str) -> Callable[[int], str]:
    """Return what gives a head of so many bytes whose lines are alike but for a number."""
    return lambda size: "\n".join(
        f"{name}: {value}".replace("#", str(number)) for number in range(size // (len(name) + len(value) + 4))
    )


def headers_of(text: str) -> CIMultiDictProxy[str]:
    lines = (line.split(": ", 1) for line in text.splitlines())
    return CIMultiDictProxy(CIMultiDict((name, value) for name, value in lines))


def quietly(work: Callable[[str], object], *errors: type[Exception]) -> Callable[[str], object]:
    """Return ``work`` for which one of ``errors`` is an answer like any other."""

    def done(text: str) -> None:
        with contextlib.suppress(*errors):
            work(text)

    return done


def asked(headers: CIMultiDictProxy[str]) -> web.BaseRequest:
    return make_mocked_request("GET", "/v2/", headers=headers)


ORIGINS = LocationRewriter(["http://registry.example:5000"], ClientAddresses())
TRUSTING = ClientAddresses([ip_network("0.0.0.0/0")])
REALMS = Realms(RealmPolicy(["http://registry.example:5000"], ()))


def many(piece: str, lead: str = "", end: str = "") -> Callable[[int], str]:
    return lambda size: lead + piece * (size // len(piece)) + end


def links(text: str) -> object:
    headers = headers_of(f"Link: {text}")
    return ORIGINS.forwarded_response(headers, asked(CIMultiDictProxy(CIMultiDict({"Host": "h"}))))


def target(text: str) -> object:
    return parse("GET", text).scopes()


WORK: dict[str, tuple[Callable[[str], object], tuple[Callable[[int], str], ...]]] = {
    "redaction": (
        redacted,
        (
            *(many(one, ";") for one in ("token", "key", "tokenkey", "a", "-", "é", "x-amz-")),
            *map(many, (";token=", "?a", "//a", "//a@", "bearer ", "bearer a", " ", "basic\t", ";;key")),
        ),
    ),
    "links": (
        links,
        tuple(map(many, ("<", "<a", "<a>", "<//h/>,", "<//registry.example:5000/>,", "<//", "<//[", ">"))),
    ),
    "long hosts": (
        links,
        (many("a", "<//", "/>"), many("é", "<//", "/>"), many("a.", "<//", "/>"), many("@", "<//")),
    ),
    "challenges": (
        lambda text: parse_challenges([text] * 3),
        tuple(map(many, ("Bearer ", "a", "a ", 'a="', "a=b,", ",", " ", 'Bearer realm="x",', 'b a="\\', "a=,"))),
    ),
    "realms": (
        lambda text: REALMS.as_ours(f'Bearer realm="http://registry.example:5000/t",{text}', "http://us"),
        tuple(map(many, ("realm=", 'realm="', "realm ", "realm=\t", 'realm="a",', "\\"))),
    ),
    "targets": (
        quietly(target, ScopeError),
        tuple(
            many(one, lead, end)
            for lead, end in (
                ("/", ""),
                ("/v2/", "/manifests/x"),
                ("/v2/a/manifests/", ""),
                ("/v2/a/blobs/", "?a"),
            )
            for one in (
                "/",
                "a/",
                "manifests/",
                "%2f",
                "a__",
                "a-",
                "--0.0.1.1",
                "--a",
                "+a",
                "..",
                "sha256:",
                "?a=",
                "%",
            )
        ),
    ),
    "forwarded requests": (
        lambda text: forwarded_request(headers_of(text), is_trusted=False),
        (
            heads("Connection", "x#"),
            heads("X-Forwarded-#", "a"),
            heads("X#", "a"),
            many(",a", "Connection: "),
        ),
    ),
    "forwarded answers": (
        lambda text: ORIGINS.forwarded_response(headers_of(text), asked(CIMultiDictProxy(CIMultiDict()))),
        (heads("Connection", "x#"), heads("Set-Cookie", "a=#"), heads("Link", "<//h#/>"), heads("Link", "<")),
    ),
    "clients": (
        lambda text: (TRUSTING.address(asked(headers_of(text))), TRUSTING.origin(asked(headers_of(text)))),
        (
            heads("X-Forwarded-For", "10.0.0.#"),
            many(",1.1.1.1", "X-Forwarded-For: a"),
            many("a,", "X-Forwarded-Host: a"),
        ),
    ),
    "ranges and tags": (
        lambda text: (byte_range(text, 1000), accepts_indexes(text), readings(text)),
        (many("0", "bytes=0-"), many(",0-1", "bytes=0-1"), many("application/vnd.oci.image.index.v1+jso,")),
    ),
    "references": (
        quietly(Reference.parse, InvalidReferenceError),
        tuple(map(many, ("a/", "a__", "a-", "a.", ":", "@", "[", "a:1"))),
    ),
}


@pytest.mark.parametrize(
    ("work", "text"),
    [
        pytest.param(work, text, id=f"{name} {at}")
        for name, (work, texts) in WORK.items()
        for at, text in enumerate(texts)
    ],
)
def test_what_reads_foreign_text_takes_time_that_is_linear_in_it(
    work: Callable[[str], object], text: Callable[[int], str]
) -> None:
    assert not grows_too_fast(work, text)


def test_a_pattern_with_many_stars_takes_no_more_time_than_its_length_allows() -> None:
    """Before, time grew with the power of the stars: this one would not end."""
    rule = AccessRule.of(RuleConfig(users=("u",), repositories=("**a*a*a**a*a**a*a*b",), actions=("pull",)))
    wanted = Repositories(("a*a*a*a*a*a*a*b",))
    name = "a" * 255
    scope = Scope("repository", name, ("pull",))

    def judged() -> None:
        assert not rule.allows("u", scope)
        wanted.count(Repository(DEFAULT_UPSTREAM, name), "blob")

    assert seconds(judged, 3) < 1


@given(
    pattern=st.lists(st.sampled_from(["*", "**", "/", "a", "b", "ab"]), max_size=9).map("".join),
    name=st.text("ab/", max_size=14),
)
def test_patterns_of_repositories_mean_what_they_meant(pattern: str, name: str) -> None:
    parts = re.split(r"(\*\*|\*)", pattern)
    plain = "".join({"**": ".*", "*": "[^/]*"}.get(part, re.escape(part)) for part in parts)
    assert bool(re.fullmatch(expression(pattern), name)) is bool(re.fullmatch(plain, name))


# The first release's, which tries every way to read a name.
_FIRST = re.compile(
    r"(?i)([?&;](?:_state|account|password|secret|client_secret|code|sig|signature|[\w.-]*token[\w.-]*|[\w.-]*key"
    r"|x-amz-(?:signature|credential|security-token)|x-goog-(?:signature|credential))=)[^&\s\"'<>;]*"
    r"|(//)[^/@\s]+(?=@)"
    r"|\b((?:bearer|basic)\s+)[A-Za-z0-9._~+/=-]+"
)
SECRETS = st.lists(
    st.sampled_from(
        [
            *(
                "?",
                "&",
                ";",
                "=",
                "//",
                "/",
                "@",
                " ",
                "\n",
                '"',
                ":",
                "-",
                ".",
                "_state",
                "account",
                "password",
            ),
            *(
                "secret",
                "client_",
                "code",
                "sig",
                "signature",
                "token",
                "TOKEN",
                "toKen",
                "to\u212aen",
                "key",
                "kEy",
            ),
            *(
                "x-amz-",
                "x-goog-",
                "credential",
                "security-token",
                "bearer",
                "Basic",
                "a",
                "é",
                "0",
                "tokentoken",
            ),
        ]
    )
    | st.text(max_size=2),
    max_size=14,
).map("".join)


@settings(max_examples=500)
@given(SECRETS)
def test_what_was_redacted_before_is_redacted_still_and_nothing_else(text: str) -> None:
    assert redacted(text) == _FIRST.sub(lambda found: f"{found[1] or found[2] or found[3]}***", text)


@given(SECRETS)
def test_what_was_redacted_once_has_nothing_left_to_redact(text: str) -> None:
    assert redacted(redacted(text)) == redacted(text)


# As it was read before, by an expression that tries every place where the chain may begin.
_NUMBERS = r"[0-9]+\.[0-9]+\.[0-9]+\.[0-9]+"
_LINK = rf"(?:--|\+)(?:{_NUMBERS}|[a-z][a-z0-9_]*(?:-[a-z0-9_]+)*)"
_TAG = re.compile(rf"(?P<base>[A-Za-z0-9_][A-Za-z0-9._-]*?)(?P<chain>(?:{_LINK})+)")


@settings(max_examples=500)
@given(
    st.lists(
        st.sampled_from(["v1", "--", "-", "+", "0.0.1.1", ".1", "a", "A", "_", "all", "!"]),
        min_size=1,
        max_size=12,
    ).map("".join)
)
def test_tags_are_read_as_the_grammar_says(tag: str) -> None:
    match = _TAG.fullmatch(tag)
    found = readings(tag)
    assert bool(found) is bool(match)
    if match is not None:
        assert (found[0].base, "".join(found[0].chain)) == (
            match["base"],
            "".join(one.lstrip("-+") for one in re.findall(_LINK, match["chain"])),
        )
