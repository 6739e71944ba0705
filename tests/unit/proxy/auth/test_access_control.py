"""Who is let in to what, by credentials and by what the request needs."""

import base64
from pathlib import Path
from typing import Any

import pytest
from aiohttp import hdrs
from aiohttp.test_utils import make_mocked_request

from proxy.auth.access_control import AccessControl, DeniedError, PassThrough
from proxy.auth.identity import Identity
from proxy.auth.passwords import Passwords
from proxy.auth.tokens import Claims, TokenError, TokenVerifier
from proxy.config import AuthConfig
from proxy.repository import DEFAULT_UPSTREAM, Repository
from proxy.requests.parsing import parse

# "s3cret", with the least cost there is.
ANN = "ann:$2b$04$DhcA3es4YNnb86CnhOFVoee1yz44sydBXzuDWS/rpoKbBojNDz8.q"
MODEL = Repository(DEFAULT_UPSTREAM, "team/model")
DIGEST = "sha256:" + "ab" * 32
UPLOAD = "/v2/team/model/blobs/uploads/"
RULES: list[dict[str, Any]] = [
    {"users": ["ann"], "repositories": ["team/**"], "actions": ["pull", "push"]},
    {"users": ["bob"], "repositories": ["team/*"], "actions": ["delete"]},
    {"users": ["*", "anonymous"], "repositories": ["public/**"], "actions": ["pull"]},
]


class Tokens(TokenVerifier):
    """Believes two tokens."""

    def __init__(self) -> None:
        """Need no keys."""

    def verify(self, token: str) -> Claims:
        if token == "puller":
            return Claims("carl", {MODEL: frozenset({"pull"})}, catalog=False, expires=0)
        if token == "lister":
            return Claims("dora", {}, catalog=True, expires=0)
        raise TokenError("nobody signed it")


def basic(user: str, password: str) -> str:
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


def control(tmp_path: Path | None = None, *, tokens: bool = False, **clients: Any) -> AccessControl:
    passwords = None
    if tmp_path is not None:
        file = tmp_path / "htpasswd"
        file.write_text(f"{ANN}\n{ANN.replace('ann', 'bob')}\n")
        passwords = Passwords(file)
    token = {"realm": "https://tokens.example/t", "audience": "us.example"} if tokens else {}
    config = AuthConfig.model_validate({"clients": {"rules": RULES, **clients}, "token": token})
    return AccessControl(config, Tokens() if tokens else None, passwords)


async def enter(
    authenticator: AccessControl | PassThrough, method: str, target: str, authorization: str = "", **more: str
) -> Identity:
    headers = {name.replace("_", "-"): value for name, value in more.items()}
    if authorization:
        headers[hdrs.AUTHORIZATION] = authorization
    http = make_mocked_request(method, target, headers=headers)
    return await authenticator.enter(http, parse(method, target), "192.0.2.1")


async def denied(*args: Any, **more: Any) -> DeniedError:
    with pytest.raises(DeniedError) as caught:
        await enter(*args, **more)
    return caught.value


async def test_a_user_gets_what_the_rules_allow_and_the_proxys_identity(tmp_path: Path) -> None:
    identity = await enter(control(tmp_path), "PUT", "/v2/team/model/manifests/v1", basic("ann", "s3cret"))
    assert identity.rights == {MODEL: {"pull", "push"}}
    assert (identity.headers, identity.client) == ({}, "192.0.2.1")
    assert identity.may_pull(MODEL)
    other = await enter(control(tmp_path), "GET", "/v2/public/a/tags/list", basic("ann", "s3cret"))
    assert identity.fingerprint == other.fingerprint, "what is asked upstream for one serves all"


async def test_a_rule_may_be_for_some_registries_alone(tmp_path: Path) -> None:
    def control_of(upstream: str, registry: str) -> AccessControl:
        named = [{"users": ["ann"], "repositories": ["team/*"], "registries": ["harbor"]}]
        named.append({"users": ["bob"], "repositories": ["team/*"], "registries": ["hub", "quay"]})
        config = AuthConfig.model_validate({"clients": {"rules": named}})
        file = tmp_path / "htpasswd"
        file.write_text(f"{ANN}\n{ANN.replace('ann', 'bob')}\n")
        return AccessControl(config, None, Passwords(file), upstream, registry)

    harbor, hub, ghcr = (control_of(*one) for one in ((DEFAULT_UPSTREAM, "harbor"), ("hub", "hub"), ("ghcr", "ghcr")))
    target, ann, bob = "/v2/team/model/manifests/v1", basic("ann", "s3cret"), basic("bob", "s3cret")
    assert (await enter(harbor, "GET", target, ann)).rights == {MODEL: {"pull"}}
    assert (await enter(hub, "GET", target, bob)).rights == {Repository("hub", "team/model"): {"pull"}}
    # Where no rule is for a registry, nobody may read there: that is not to be without rules.
    for control, user in ((harbor, bob), (hub, ann), (ghcr, ann), (ghcr, bob)):
        assert (await denied(control, "GET", target, user)).status == 403


async def test_who_may_delete_may_not_therefore_hear_what_there_is(tmp_path: Path) -> None:
    target = f"/v2/team/model/manifests/{DIGEST}"
    bob = await enter(control(tmp_path), "DELETE", target, basic("bob", "s3cret"))
    assert bob.rights == {MODEL: {"delete"}}
    assert not bob.may_pull(MODEL)
    refused = await denied(control(tmp_path), "GET", target, basic("bob", "s3cret"))
    assert (refused.status, refused.code) == (403, "DENIED")
    assert str(refused) == "bob may not do this: no rule of the proxy allows repository:team/model:pull"


async def test_a_mount_needs_both_repositories(tmp_path: Path) -> None:
    target = f"{UPLOAD}?mount={DIGEST}&from="
    entered = await enter(control(tmp_path), "POST", f"{target}public/a", basic("ann", "s3cret"))
    assert set(entered.rights) == {MODEL, Repository(DEFAULT_UPSTREAM, "public/a")}
    refused = await denied(control(tmp_path), "POST", f"{target}secret/a", basic("ann", "s3cret"))
    assert str(refused).endswith("no rule of the proxy allows repository:secret/a:pull")


@pytest.mark.parametrize("content_type", ["application/x-www-form-urlencoded", "text/plain; x=y"])
async def test_a_form_may_not_name_another_mount(tmp_path: Path, content_type: str) -> None:
    refused = await denied(
        control(tmp_path), "POST", UPLOAD, basic("ann", "s3cret"), **{hdrs.CONTENT_TYPE: content_type}
    )
    assert refused.status == 403
    assert str(refused) == "not let in: an upload begins without a body, or with application/octet-stream"


async def test_two_content_types_are_two_readings() -> None:
    http = make_mocked_request("POST", UPLOAD, headers=[("Content-Type", ""), ("Content-Type", "text/x")])
    with pytest.raises(DeniedError, match="more than one Content-Type") as caught:
        await control(allow_anonymous=True).enter(http, parse("POST", UPLOAD), "c")
    assert caught.value.status == 400


@pytest.mark.parametrize(
    ("method", "target", "why"),
    [
        ("GET", "/api/v2.0/projects", "the path is none of the registry API, or its repository's name is not allowed"),
        ("BREW", "/v2/", "BREW is no method of the registry API"),
        ("GET", "/twodfs/token", "the path is none of the registry API, or its repository's name is not allowed"),
        ("POST", f"{UPLOAD}?from=b", "a mount names one blob and the one repository it is in: ?mount=DIGEST&from=NAME"),
    ],
)
async def test_what_is_not_plainly_the_api_does_not_get_in(method: str, target: str, why: str, tmp_path: Path) -> None:
    refused = await denied(control(tmp_path), method, target, basic("ann", "s3cret"))
    assert (refused.status, refused.code, str(refused)) == (403, "DENIED", f"not let in: {why}")


async def test_a_wrong_password_is_not_taken_for_nobody(tmp_path: Path) -> None:
    open_to_all = control(tmp_path, allow_anonymous=True)
    refused = await denied(open_to_all, "GET", "/v2/public/a/tags/list", basic("ann", "wrong"))
    assert (refused.status, refused.code) == (401, "UNAUTHORIZED")
    assert refused.headers.getall(hdrs.WWW_AUTHENTICATE) == ['Basic realm="twodfs-proxy", charset="UTF-8"']


async def test_nobody_is_let_in_where_that_is_allowed_and_told_to_log_in_for_more(tmp_path: Path) -> None:
    open_to_all = control(tmp_path, allow_anonymous=True)
    entered = await enter(open_to_all, "GET", "/v2/public/a/tags/list")
    assert entered.may_pull(Repository(DEFAULT_UPSTREAM, "public/a"))
    more = await denied(open_to_all, "GET", "/v2/team/model/tags/list")
    assert (more.status, str(more)) == (401, "log in first: this is not for everyone")
    closed = await denied(control(tmp_path), "GET", "/v2/public/a/tags/list")
    assert (closed.status, str(closed)) == (401, "authentication required")


async def test_without_any_way_to_log_in_nobody_is_told_to() -> None:
    refused = await denied(control(allow_anonymous=True), "GET", "/v2/team/model/tags/list")
    assert refused.status == 403
    assert str(refused).startswith("anonymous may not do this")


async def test_a_token_is_asked_for_with_the_scopes_of_the_request() -> None:
    refused = await denied(control(tokens=True), "PUT", "/v2/team/model/manifests/v1")
    assert refused.headers[hdrs.WWW_AUTHENTICATE] == (
        'Bearer realm="https://tokens.example/t",service="us.example",scope="repository:team/model:pull,push"'
    )
    unclear = await denied(control(tokens=True), "GET", "/api")
    assert "scope" not in unclear.headers[hdrs.WWW_AUTHENTICATE]


async def test_a_token_grants_what_it_claims() -> None:
    entered = await enter(control(tokens=True), "GET", "/v2/team/model/manifests/v1", "Bearer puller")
    assert entered.rights == {MODEL: {"pull"}}
    more = await denied(control(tokens=True), "PUT", "/v2/team/model/manifests/v1", "Bearer puller")
    assert (more.status, str(more)) == (401, "the token does not grant this")
    assert 'error="insufficient_scope"' in more.headers[hdrs.WWW_AUTHENTICATE]
    false = await denied(control(tokens=True), "GET", "/v2/", "Bearer mine")
    assert 'error="invalid_token"' in false.headers[hdrs.WWW_AUTHENTICATE]
    assert (await enter(control(tokens=True), "GET", "/v2/_catalog", "Bearer lister")).rights == {}
    assert (await denied(control(tokens=True), "GET", "/v2/_catalog", "Bearer puller")).status == 401


async def test_pass_through_lets_anything_in_with_its_own_credentials() -> None:
    entered = await enter(PassThrough(None), "BREW", "/v2/A/manifests/..", "Basic x", Cookie="a=b", Accept="c")
    assert entered.headers == {"Authorization": "Basic x", "Cookie": "a=b"}
    assert (entered.rights, entered.client) == ({}, "192.0.2.1")


async def test_pass_through_believes_a_token_that_verifies_and_leaves_others_to_the_registry() -> None:
    known = await enter(PassThrough(Tokens()), "GET", "/v2/", "Bearer puller")
    assert known.may_pull(MODEL)
    assert known.client == "192.0.2.1"
    unknown = await enter(PassThrough(Tokens()), "GET", "/v2/", "Bearer mine")
    assert not unknown.rights
    assert unknown.headers == {"Authorization": "Bearer mine"}
