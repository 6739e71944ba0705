import json
from base64 import b64decode
from urllib.parse import parse_qsl, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from twodfs.credentials.credentials import Credentials
from twodfs.errors import AuthError
from twodfs.registry.auth import (
    MAX_CHALLENGES,
    Authorization,
    Challenge,
    TokenAnswer,
    TokenRequest,
    answer,
    parse_challenges,
)

REALM = "https://auth.example.com/token"
BEARER = Challenge("bearer", {"realm": REALM, "service": "registry", "scope": "repository:a/b:pull"})
BASIC = Challenge("basic", {"realm": "lab"})
LOGIN = Credentials("ann", "s3cret")


def granted(token: str = "t0ken", **more: object) -> TokenAnswer:
    return TokenAnswer(200, json.dumps({"token": token, **more}).encode())


def converse(
    *challenges: Challenge,
    credentials: Credentials | None = None,
    answers: tuple[TokenAnswer, ...] = (),
    scopes: tuple[str, ...] = (),
    plain_http: bool = False,
) -> tuple[list[TokenRequest], Authorization]:
    """Run the flow to its end; every answer must be asked for, and no more."""
    flow = answer(challenges, credentials, registry="registry.example.com", scopes=scopes, plain_http=plain_http)
    asked: list[TokenRequest] = []
    left = iter(answers)
    try:
        asked.append(next(flow))
        while True:
            asked.append(flow.send(next(left)))
    except StopIteration as done:
        assert len(asked) == len(answers)
        result: Authorization = done.value
        return asked, result


def query(request: TokenRequest) -> list[tuple[str, str]]:
    return parse_qsl(urlsplit(request.url).query)


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        (
            ['Bearer realm="https://a/t",service="s",scope="repository:a:pull,push"'],
            [("bearer", {"realm": "https://a/t", "service": "s", "scope": "repository:a:pull,push"})],
        ),
        (['Basic realm="x"'], [("basic", {"realm": "x"})]),
        (
            ['Bearer realm="a", Basic realm="b"'],
            [("bearer", {"realm": "a"}), ("basic", {"realm": "b"})],
        ),
        (
            ['Bearer realm="a"', "BASIC Realm=b"],
            [("bearer", {"realm": "a"}), ("basic", {"realm": "b"})],
        ),
        (["Negotiate, Basic realm=b"], [("negotiate", {}), ("basic", {"realm": "b"})]),
        (["Negotiate abc==, Basic realm=b"], [("negotiate", {}), ("basic", {"realm": "b"})]),
        ([r'Bearer realm="say \"a, b=c\" \\"'], [("bearer", {"realm": r'say "a, b=c" \ '.strip()})]),
        (['bearer realm = "a" ,, service=s'], [("bearer", {"realm": "a", "service": "s"})]),
        (
            ['Bearer realm="a",error="insufficient_scope"'],
            [("bearer", {"realm": "a", "error": "insufficient_scope"})],
        ),
        (['Bearer realm="a",realm="b"'], [("bearer", {"realm": "a"})]),
        (['Bearer realm="never closed'], [("bearer", {})]),
        (["realm=x"], []),
        (['"junk"'], []),
        ([""], []),
        ([], []),
    ],
)
def test_challenges_are_read_in_order(headers: list[str], expected: list[tuple[str, dict[str, str]]]) -> None:
    assert parse_challenges(headers) == tuple(Challenge(*one) for one in expected)


def test_a_flood_of_challenges_is_cut_off() -> None:
    assert len(parse_challenges(["Basic," * 1000])) == MAX_CHALLENGES


@given(st.text(max_size=300))
def test_no_header_breaks_the_parser(header: str) -> None:
    for challenge in parse_challenges([header]):
        assert challenge.scheme == challenge.scheme.lower()


def test_an_anonymous_token_is_asked_for_without_credentials() -> None:
    (request,), authorization = converse(BEARER, answers=(granted(expires_in=300),))
    assert (request.method, request.headers, request.form) == ("GET", {}, None)
    assert query(request) == [("service", "registry"), ("scope", "repository:a/b:pull")]
    assert authorization == Authorization("Bearer t0ken", 300.0)


def test_a_login_is_shown_to_the_token_server_only() -> None:
    (request,), authorization = converse(BEARER, BASIC, credentials=LOGIN, answers=(granted(),))
    assert b64decode(request.headers["Authorization"].removeprefix("Basic ")) == b"ann:s3cret"
    assert ("account", "ann") in query(request)
    assert authorization.header == "Bearer t0ken"


def test_own_scopes_and_the_challenges_are_asked_for_once_each() -> None:
    challenge = Challenge("bearer", {"realm": REALM, "scope": "repository:a:push,pull registry:catalog:*"})
    scopes = ("repository:a:pull", "repository:host:5000/c:pull")
    (request,), _ = converse(challenge, scopes=scopes, answers=(granted(),))
    assert [value for key, value in query(request) if key == "scope"] == [
        "repository:a:pull,push",
        "repository:host:5000/c:pull",
        "registry:catalog:*",
    ]


def test_a_query_in_the_realm_survives() -> None:
    challenge = Challenge("bearer", {"realm": f"{REALM}?tenant=7", "service": "s"})
    (request,), _ = converse(challenge, answers=(granted(),))
    assert query(request) == [("tenant", "7"), ("service", "s")]


def test_an_identity_token_goes_by_post() -> None:
    credentials = Credentials(identity_token="refresh-me")
    reply = TokenAnswer(200, b'{"access_token": "fresh"}')
    (request,), authorization = converse(BEARER, credentials=credentials, answers=(reply,))
    assert (request.method, request.url) == ("POST", REALM)
    assert request.form == {
        "grant_type": "refresh_token",
        "service": "registry",
        "client_id": "twodfs",
        "scope": "repository:a/b:pull",
        "refresh_token": "refresh-me",
    }
    assert authorization == Authorization("Bearer fresh", 60.0)


@pytest.mark.parametrize("status", [404, 405])
def test_a_token_server_without_post_is_asked_by_get_where_there_is_a_login(status: int) -> None:
    credentials = Credentials("ann", "s3cret", identity_token="refresh-me")
    answers = (TokenAnswer(status, b""), granted())
    requests, authorization = converse(BEARER, credentials=credentials, answers=answers)
    assert [request.method for request in requests] == ["POST", "GET"]
    assert authorization.header == "Bearer t0ken"


def test_basic_is_answered_with_the_login() -> None:
    requests, authorization = converse(BASIC, credentials=Credentials("änn", "p:w"))
    assert requests == []
    assert b64decode(authorization.header.removeprefix("Basic ")).decode() == "änn:p:w"
    assert authorization.lifetime is None


def test_a_registry_token_is_sent_as_it_is() -> None:
    requests, authorization = converse(BEARER, credentials=Credentials(registry_token="ready"))
    assert (requests, authorization.header) == ([], "Bearer ready")


def test_basic_without_a_login_says_how_to_log_in() -> None:
    with pytest.raises(AuthError, match=r"run 'twodfs login registry\.example\.com' first"):
        converse(BASIC)


def test_an_unknown_scheme_is_named() -> None:
    with pytest.raises(AuthError, match="an unknown kind: negotiate; Bearer and Basic work"):
        converse(Challenge("negotiate", {}))


@pytest.mark.parametrize("status", [401, 403])
def test_a_refused_login_says_so(status: int) -> None:
    refused = TokenAnswer(status, b'{"details": "wrong"}')
    with pytest.raises(AuthError, match=rf"auth.example.com refused access .* \({status}\)"):
        converse(BEARER, credentials=LOGIN, answers=(refused,))


@pytest.mark.parametrize(
    "body", [b"", b"[]", b"{}", b'{"token": ""}', b'{"token": 7}', b'{"token": "a\\r\\nX-Evil: 1"}']
)
def test_an_answer_without_a_usable_token_is_an_error(body: bytes) -> None:
    with pytest.raises(AuthError, match="missing or malformed"):
        converse(BEARER, answers=(TokenAnswer(200, body),))


@pytest.mark.parametrize("realm", ["", "ftp://auth.example.com", "/token", "https://[", "file:///etc/passwd"])
def test_a_realm_that_is_no_web_address_is_refused(realm: str) -> None:
    with pytest.raises(AuthError, match="no http"):
        converse(Challenge("bearer", {"realm": realm}))


def test_credentials_do_not_leave_tls_for_the_token_server() -> None:
    clear = Challenge("bearer", {"realm": "http://auth.example.com/token"})
    with pytest.raises(AuthError, match=r"without TLS .* credentials were not sent"):
        converse(clear, credentials=LOGIN)
    requests, _ = converse(clear, credentials=LOGIN, plain_http=True, answers=(granted(),))
    assert len(requests) == 1


def test_secrets_stay_out_of_every_repr() -> None:
    secrets = Credentials("ann", "s3cret", identity_token="s3cret", registry_token="s3cret")
    requests, authorization = converse(BEARER, credentials=LOGIN, answers=(granted("s3cret"),))
    posted, _ = converse(BEARER, credentials=Credentials(identity_token="s3cret"), answers=(granted("s3cret"),))
    for value in (secrets, authorization, granted("s3cret"), *requests, *posted):
        assert "s3cret" not in repr(value)
        assert LOGIN.basic().removeprefix("Basic ") not in repr(value)
