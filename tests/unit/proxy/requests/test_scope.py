import pytest

from proxy.requests import scope
from proxy.requests.grammar import GrammarError, Resource
from proxy.requests.scope import Scope, ScopeError

DIGEST = "sha256:" + "a" * 64


def scopes(method: str, target: str, content_type: str = "") -> tuple[Scope, ...]:
    return scope.scopes(method, Resource.of(target), content_type)


@pytest.mark.parametrize(
    ("method", "target", "wanted"),
    [
        ("GET", "/v2/", ""),
        ("GET", "/v2", ""),
        ("GET", "/v2/_catalog?n=5", "registry:catalog:*"),
        ("GET", "/v2/team/model/manifests/v1--0.0.1.1", "repository:team/model:pull"),
        ("HEAD", "/v2/team/model/manifests/v1%2B0.0.1.1", "repository:team/model:pull"),
        ("GET", "/v2/team/model/manifests/sha256%3A" + "a" * 64, "repository:team/model:pull"),
        ("GET", f"/v2/a/blobs/{DIGEST}", "repository:a:pull"),
        ("GET", f"/v2/a/referrers/{DIGEST}?artifactType=x", "repository:a:pull"),
        ("GET", "/v2/a/b/tags/list?n=1", "repository:a/b:pull"),
        ("GET", "/v2/a/manifests/b/manifests/c", "repository:a/manifests/b:pull"),
        ("PUT", "/v2/a/manifests/v1", "repository:a:pull,push"),
        ("DELETE", "/v2/a/manifests/v1", "repository:a:delete"),
        ("DELETE", f"/v2/a/blobs/{DIGEST}", "repository:a:delete"),
        ("POST", "/v2/a/blobs/uploads/", "repository:a:pull,push"),
        ("PATCH", "/v2/a/blobs/uploads/1-2_3?_state=x", "repository:a:pull,push"),
        ("GET", "/v2/a/blobs/uploads/1", "repository:a:pull,push"),
        (
            "POST",
            f"/v2/a/blobs/uploads/?mount={DIGEST}&from=secret/b",
            "repository:a:pull,push repository:secret/b:pull",
        ),
        (
            "POST",
            f"/v2/a/blobs/uploads/?mount={DIGEST}&%66rom=secret%2Fb",
            "repository:a:pull,push repository:secret/b:pull",
        ),
    ],
)
def test_a_request_needs_what_the_token_specification_says(method: str, target: str, wanted: str) -> None:
    assert " ".join(map(str, scopes(method, target))) == wanted


@pytest.mark.parametrize(
    ("method", "target"),
    [
        ("GET", "/"),
        ("GET", "/v1/search"),
        ("GET", "/api/v2.0/projects"),
        ("GET", "/v2/a/../secret/manifests/v1"),
        ("GET", "/v2/a/%2e%2e/secret/manifests/v1"),
        ("GET", "/v2//a/manifests/v1"),
        ("GET", "/v2/A/manifests/v1"),
        ("GET", "/v2/a%2Fb/manifests/v1"),
        ("GET", "/v2/a/manifests/x%2F..%2F..%2Fsecret%2Fmanifests%2Fv1"),
        ("GET", "/v2/a/manifests/x%252F..%252F..%252Fsecret"),
        ("GET", "/v2/a/manifests/.."),
        ("GET", "/v2/a/manifests/v1%00"),
        ("GET", "/v2/a/manifests/"),
        ("GET", "/v2/a/manifests/v1/"),
        ("GET", "/v2/a/manifests/v1#/v2/b"),
        ("GET", "/v2/a/manifests/v1;x"),
        ("GET", "/v2/a\\b/manifests/v1"),
        ("GET", "/v2/" + "a" * 300 + "/manifests/v1"),
        ("GET", "/v2/a/blobs/latest"),
        ("GET", "/V2/a/manifests/v1"),
        ("TRACE", "/v2/"),
        ("OPTIONS", "/v2/a/manifests/v1"),
        ("PATCH", "/v2/a/blobs/uploads/.."),
        ("PATCH", "/v2/a/blobs/uploads/x%2F..%2F..%2Fmanifests%2Fv1"),
        ("POST", f"/v2/a/blobs/uploads/?mount={DIGEST}"),
        ("POST", "/v2/a/blobs/uploads/?from=b"),
        ("POST", f"/v2/a/blobs/uploads/?mount={DIGEST}&from=b&from=secret"),
        ("POST", f"/v2/a/blobs/uploads/?mount={DIGEST}&from=b;from=secret"),
        ("POST", f"/v2/a/blobs/uploads/?mount={DIGEST}&from=../secret"),
    ],
)
def test_what_can_be_read_in_two_ways_is_not_read_at_all(method: str, target: str) -> None:
    with pytest.raises((ScopeError, GrammarError)):
        scopes(method, target)


@pytest.mark.parametrize(
    "content_type", ["application/x-www-form-urlencoded", "Multipart/Form-Data; boundary=x", "text/plain"]
)
def test_a_form_that_could_name_another_repository_to_mount_from_is_not_let_in(content_type: str) -> None:
    with pytest.raises(ScopeError, match="without a body"):
        scopes("POST", "/v2/a/blobs/uploads/", content_type)


@pytest.mark.parametrize("content_type", ["", "application/octet-stream", "Application/JSON; charset=utf-8"])
def test_an_upload_may_begin_with_what_no_registry_takes_for_a_form(content_type: str) -> None:
    assert " ".join(map(str, scopes("POST", "/v2/a/blobs/uploads/", content_type))) == "repository:a:pull,push"


def test_a_form_is_nothing_to_any_other_request() -> None:
    form = "application/x-www-form-urlencoded"
    assert scopes("PUT", "/v2/a/manifests/v1", form) == (Scope("repository", "a", ("pull", "push")),)


@pytest.mark.parametrize(
    ("method", "target", "content_type", "sentence"),
    [
        ("BREW", "/v2/a/tags/list", "", "BREW is no method of the registry API"),
        ("GET", "/v1/search", "", "the path is none of the registry API, or its repository's name is not allowed"),
        ("GET", "/v2/a/tags/all", "", "the path is none of the registry API, or its repository's name is not allowed"),
        ("GET", "/v2/a/manifests/v1;x", "", "the reference is neither a tag nor a digest"),
        ("GET", "/v2/a/blobs/latest", "", "a blob is asked for by its digest"),
        ("PATCH", "/v2/a/blobs/uploads/...", "", "the upload's id is not allowed"),
        ("POST", "/v2/a/blobs/uploads/?mount=a;b", "text/plain", "an upload begins without a body"),
        ("POST", "/v2/a/blobs/uploads/?mount=a;b", "", "the query can be read in two ways"),
        ("POST", "/v2/a/blobs/uploads/...", "text/plain", "the upload's id is not allowed"),
        ("POST", "/v2/a/blobs/uploads/?from=b", "", "a mount names one blob and the one repository it is in"),
    ],
)
def test_a_refusal_says_why(method: str, target: str, content_type: str, sentence: str) -> None:
    with pytest.raises(ScopeError) as refused:
        scopes(method, target, content_type)
    assert str(refused.value).startswith(sentence)
