import pytest

from proxy.requests.grammar import GrammarError, Resource, TargetError, origin_form
from proxy.requests.kinds import InvalidRequest
from proxy.requests.parsing import parse

DIGEST = "sha256:" + "ab" * 32
FINE = [
    "/",
    "/nowhere",
    "/v2",
    "/v2/",
    "/v2/?q=%00",
    "/v2/_catalog?n=5&last=a%2Fb",
    "/v2/_oci/ext/discover",
    "/v2/a/_ext/thing/%7Bx%7D",
    "/v2/a/manifests/v1",
    "/v2/a/manifests/V1_.-x",
    "/v2/a/manifests/v1+0.0.1.1",
    "/v2/a/manifests/v1%2B0.0.1.1",
    f"/v2/a/manifests/{DIGEST}",
    f"/v2/a/manifests/{DIGEST.replace(':', '%3A')}",
    f"/v2/a__b/c--d/e.f/blobs/{DIGEST}",
    "/v2/a/blobs/blake3:0aF=_-",
    "/v2/a/blobs/uploads/",
    "/v2/a/blobs/uploads/?mount=sha256:x&from=b",
    "/v2/a/blobs/uploads/11111111-1111-4111-8111-111111111111?_state=a%2F..%2Fb==&x=\\",
    "/v2/a/blobs/uploads/b/c/~odd;id=1",
    "/v2/a/blobs/upload/singular",
    "/v2/a/tags/list?n=1&last=../x",
    f"/v2/a/referrers/{DIGEST}?artifactType=x%2Fy",
    "/v2/manifests/manifests/manifests",
    "/api/v2.0/projects/library/repositories/a%252Fb/artifacts",
    "/api/v4/projects/a%2Fb",
    "/service/token?service=x&scope=repository:a/b:pull",
]


@pytest.mark.parametrize("target", FINE)
def test_what_the_api_has_may_pass(target: str) -> None:
    Resource.of(target).check_reference()
    assert not isinstance(parse("GET", target), InvalidRequest)


@pytest.mark.parametrize(
    ("target", "code"),
    [
        ("/v2/A/manifests/v1", "NAME_INVALID"),
        ("/v2//manifests/v1", "NAME_INVALID"),
        ("/v2/a//b/manifests/v1", "NAME_INVALID"),
        ("/v2//a/blobs/uploads/", "NAME_INVALID"),
        ("/v2/-a/tags/list", "NAME_INVALID"),
        ("/v2/" + "a" * 256 + "/manifests/v1", "NAME_INVALID"),
        ("/v2/a/../b/manifests/v1", "NAME_INVALID"),
        ("/v2/a/%2e%2e/b/manifests/v1", "NAME_INVALID"),
        ("/v2/a/.%2E/b/manifests/v1", "NAME_INVALID"),
        ("/v2/a/./manifests/v1", "NAME_INVALID"),
        ("/v2/./", "NAME_INVALID"),
        ("/v2/a/blobs/uploads/../../../b/manifests/v1", "NAME_INVALID"),
        ("/v2/a/blobs/uploads/..%2f..%2fb", "NAME_INVALID"),
        ("/v2/a%2Fb/manifests/v1", "NAME_INVALID"),
        ("/v2/a%2fmanifests%2fv1", "NAME_INVALID"),
        ("/v2/%61/manifests/v1", "NAME_INVALID"),
        ("/v2/a/%6danifests/v1", "NAME_INVALID"),
        ("/v2/a%00/manifests/v1", "NAME_INVALID"),
        ("/v2/a/manifests/v1%00", "NAME_INVALID"),
        ("/v2/a/manifests/v1%0d%0aX-Evil:%201", "NAME_INVALID"),
        ("/v2/a\\b/manifests/v1", "NAME_INVALID"),
        ("/v2/a%5C..%5cb/manifests/v1", "NAME_INVALID"),
        ("/v2/_catalog%7f", "NAME_INVALID"),
        ("/v2/\u00e9/manifests/v1", "NAME_INVALID"),
        ("/v2/%C3%A9/manifests/v1", "NAME_INVALID"),
        ("//v2/a/manifests/v1", "NAME_INVALID"),
        ("/%762/a/manifests/v1", "NAME_INVALID"),
        ("/x/../v2/a/manifests/v1", "NAME_INVALID"),
        ("/x/%2e%2e%2fv2/a/manifests/v1", "NAME_INVALID"),
        ("/v2%2fa/manifests/v1", "NAME_INVALID"),
        ("/v2/a/manifests/", "TAG_INVALID"),
        ("/v2/a/manifests/.bad", "TAG_INVALID"),
        ("/v2/a/manifests/" + "t" * 129, "TAG_INVALID"),
        ("/v2/a/manifests/a/b", "TAG_INVALID"),
        ("/v2/a/manifests/v1/", "TAG_INVALID"),
        ("/v2/a/manifests/v1;x=y", "TAG_INVALID"),
        ("/v2/a/manifests/%252e%252e", "TAG_INVALID"),
        ("/v2/a/manifests/sha256:abc", "DIGEST_INVALID"),
        ("/v2/a/manifests/a:b:c", "DIGEST_INVALID"),
        ("/v2/a/blobs/sha256:" + "F" * 64, "DIGEST_INVALID"),
        ("/v2/a/blobs/", "DIGEST_INVALID"),
        ("/v2/a/blobs/v1", "DIGEST_INVALID"),
        ("/v2/a/referrers/v1", "DIGEST_INVALID"),
        ("/v2/a#b", "UNSUPPORTED"),
        ("/v2/a?b#c", "UNSUPPORTED"),
        ("/v2/a/manifests/v1--0.0.1.1?x#y", "UNSUPPORTED"),
        ("/v2/a%zz", "UNSUPPORTED"),
        ("/v2/a%", "UNSUPPORTED"),
    ],
)
@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE"])
def test_what_could_be_read_in_two_ways_may_not(method: str, target: str, code: str) -> None:
    request = parse(method, target)
    assert isinstance(request, InvalidRequest)
    assert isinstance(request.problem, GrammarError)
    assert request.problem.code == code
    assert len(str(request.problem)) < 400
    assert request.label == "invalid"


@pytest.mark.parametrize(
    ("target", "name", "kind", "rest", "written"),
    [
        ("/v2/a/b/manifests/v1%2B0.0.1.1?x=y", "a/b", "manifests", "v1+0.0.1.1", "v1%2B0.0.1.1"),
        ("/v2/a/manifests/b/blobs/uploads/1%7E2", "a/manifests/b", "blobs", "uploads/1~2", "uploads/1%7E2"),
        ("/v2/manifests/manifests/manifests", "manifests", "manifests", "manifests", "manifests"),
        ("/v2/a/blobs/uploads/tags/list", "a/blobs/uploads", "tags", "list", "list"),
        ("/v2/_catalog", "", "", "", ""),
    ],
)
def test_what_a_path_names(target: str, name: str, kind: str, rest: str, written: str) -> None:
    resource = Resource.of(target)
    assert (resource.name, resource.kind, resource.rest) == (name, kind, rest)
    assert not kind or resource.written_rest == written


def test_a_reference_may_be_judged_after_what_the_path_names_is_known() -> None:
    resource = Resource.of("/v2/a/manifests/.bad")
    assert resource.rest == ".bad"
    with pytest.raises(GrammarError, match="is no tag"):
        resource.check_reference()


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        ("/v2/?a=b", "/v2/?a=b"),
        ("http://other.example/v2/?a=b", "/v2/?a=b"),
        ("HTTPS://other.example:1/v2/", "/v2/"),
        ("http://other.example", "/"),
        ("http://other.example?a", "/?a"),
        ("//other.example/v2/", "//other.example/v2/"),
    ],
)
def test_targets_are_brought_to_origin_form(target: str, expected: str) -> None:
    assert origin_form(target) == expected


@pytest.mark.parametrize("target", ["", "*", "@evil.example/", "evil.example:443", ":80/v2/", "ftp://a/b", "x"])
def test_a_target_that_could_change_the_upstreams_address_is_refused(target: str) -> None:
    with pytest.raises(TargetError, match="is no path"):
        origin_form(target)
