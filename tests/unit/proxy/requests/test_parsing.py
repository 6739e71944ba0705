from functools import partial

import pytest

from proxy.repository import DEFAULT_UPSTREAM, Repository
from proxy.requests.grammar import GrammarError, TargetError
from proxy.requests.kinds import (
    ContentPull,
    Greeting,
    InvalidRequest,
    ManifestWrite,
    MistypedPull,
    Other,
    PartitionPull,
    ReferrersPull,
    ReferrersTagPull,
    SignaturePull,
    TagPull,
    TagsPull,
    TokenEndpointRequest,
)
from proxy.requests.parsing import parse
from proxy.requests.scope import ScopeError
from twodfs.errors import PartitionError
from twodfs.oci.digest import Digest

DIGEST = "sha256:" + "ab" * 32
repository = partial(Repository, DEFAULT_UPSTREAM)


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize("tag", ["v1--0.0.1.2", "v1+0.0.1.2", "v1%2B0.0.1.2", "v1%2b0.0.1.2", "v1--0.0.1.2?ns=x"])
def test_reading_a_partition_tag_is_a_partition_pull(method: str, tag: str) -> None:
    request = parse(method, f"/v2/library/model/manifests/{tag}")
    assert isinstance(request, PartitionPull)
    assert (request.repository, [str(one) for one in request.readings]) == (
        repository("library/model"),
        ["v1--0.0.1.2"],
    )


@pytest.mark.parametrize("kind", ["manifests", "blobs"])
def test_reading_by_digest_is_a_content_pull(kind: str) -> None:
    for reference in (DIGEST, DIGEST.replace(":", "%3A")):
        request = parse("GET", f"/v2/a/{kind}/{reference}")
        assert isinstance(request, ContentPull)
        assert (request.repository, request.digest) == (repository("a"), DIGEST)
        assert request.is_manifest is (kind == "manifests")


@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_reading_the_tag_of_a_signature_is_a_signature_pull(method: str) -> None:
    tag = DIGEST.replace(":", "-") + ".sig"
    request = parse(method, f"/v2/a/b/manifests/{tag}")
    assert isinstance(request, SignaturePull)
    assert (request.repository, request.subject) == (repository("a/b"), DIGEST)
    written = parse("PUT", f"/v2/a/b/manifests/{tag}")
    assert isinstance(written, ManifestWrite)
    assert (written.repository, written.digest, written.readings) == (repository("a/b"), None, ())


@pytest.mark.parametrize(
    ("query", "artifact_type"),
    [
        ("", None),
        ("?", None),
        ("?artifactType=a%2Fb%2Bc", "a/b+c"),
        ("?artifactType=a/b+c", "a/b+c"),
        ("?artifactType=", ""),
        ("?artifactType=a&n=1", "a"),
        ("?n=1", None),
    ],
)
def test_listing_referrers(query: str, artifact_type: str | None) -> None:
    request = parse("GET", f"/v2/a/b/referrers/{DIGEST}{query}")
    assert isinstance(request, ReferrersPull)
    assert (request.repository, request.subject) == (repository("a/b"), DIGEST)
    assert request.artifact_type == artifact_type


def test_the_tag_in_place_of_the_referrers_api() -> None:
    tag = DIGEST.replace(":", "-")
    request = parse("GET", f"/v2/a/b/manifests/{tag}")
    assert isinstance(request, ReferrersTagPull)
    assert (request.repository, request.subject) == (repository("a/b"), DIGEST)
    assert isinstance(parse("GET", f"/v2/a/b/manifests/{tag}.att"), TagPull)


@pytest.mark.parametrize("query", ["?last=x", "?artifactType=a&artifactType=b", "?n=1&last=y", "?x"])
def test_further_pages_and_other_filters_are_the_registrys(query: str) -> None:
    assert isinstance(parse("GET", f"/v2/a/b/referrers/{DIGEST}{query}"), Other)


@pytest.mark.parametrize("method", ["PUT", "DELETE"])
@pytest.mark.parametrize("reference", ["v1", "v1--0.0.1", DIGEST])
def test_writing_any_reference_is_a_write(method: str, reference: str) -> None:
    named = Digest(reference) if reference == DIGEST else None
    request = parse(method, f"/v2/a/b/manifests/{reference}")
    assert isinstance(request, ManifestWrite)
    assert (request.repository, request.digest, request.readings) == (repository("a/b"), named, ())


@pytest.mark.parametrize("method", ["PUT", "DELETE"])
def test_writing_what_looks_like_a_partition_tells_how_it_can_be_read(method: str) -> None:
    request = parse(method, "/v2/a/b/manifests/v1--0.0.1.2--edge")
    assert isinstance(request, ManifestWrite)
    assert [(one.base, one.chain) for one in request.readings] == [
        ("v1", ("0.0.1.2", "edge")),
        ("v1--0.0.1.2", ("edge",)),
    ]


@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_reading_a_partition_tag_with_a_mistyped_rectangle(method: str) -> None:
    request = parse(method, "/v2/a/b/manifests/v1--0.0.1")
    assert isinstance(request, MistypedPull)
    assert (request.repository, request.ways) == (repository("a/b"), (("v1", "0.0.1"),))


@pytest.mark.parametrize(
    "target",
    [
        "/",
        "/v2",
        "/v2/a/manifests/md5:ab",
        "/v2/a/blobs/uploads/" + DIGEST,
        "/v2/a/tags/list?n=v1--0.0.0.0",
        "/v1/a/manifests/v1--0.0.0.0",
    ],
)
def test_all_else_is_passed_on(target: str) -> None:
    assert isinstance(parse("GET", target), Other)


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize(
    "tag", ["v1", "v1?ns=docker.io", "v1--a.0.1.2", "sha256-" + "ab" * 31 + ".sig", "sha256-" + "AB" * 32 + ".sig"]
)
def test_reading_any_other_tag(method: str, tag: str) -> None:
    request = parse(method, f"/v2/a/b/manifests/{tag}")
    assert isinstance(request, TagPull)
    assert (request.repository, request.label) == (repository("a/b"), "other")


@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_a_client_says_hello(method: str) -> None:
    request = parse(method, "/v2/")
    assert isinstance(request, Greeting)
    assert request.label == "other"
    assert isinstance(parse("POST", "/v2/"), Other)


def test_a_repository_may_be_called_manifests() -> None:
    request = parse("GET", "/v2/a/manifests/b/manifests/v1--0.0.0.0")
    assert isinstance(request, PartitionPull)
    assert request.repository == repository("a/manifests/b")


def test_a_partition_tag_that_is_too_long_is_refused() -> None:
    request = parse("GET", f"/v2/a/manifests/{'t' * 125}--0.0.0.0")
    assert isinstance(request, InvalidRequest)
    assert isinstance(request.problem, PartitionError)
    assert "at most 128" in str(request.problem)


@pytest.mark.parametrize(
    ("method", "target", "label"),
    [
        ("GET", "/v2/a/manifests/v1--0.0.0.0", "partition"),
        ("GET", "/v2/a/manifests/v1--0.0.0", "other"),
        ("GET", "/v2/a/manifests/v1", "other"),
        ("GET", f"/v2/a/manifests/{DIGEST}", "manifest"),
        ("GET", f"/v2/a/manifests/{DIGEST.replace(':', '-')}.sig", "manifest"),
        ("GET", f"/v2/a/manifests/{DIGEST.replace(':', '-')}", "manifest"),
        ("GET", f"/v2/a/referrers/{DIGEST}", "other"),
        ("HEAD", f"/v2/a/blobs/{DIGEST}", "blob"),
        ("DELETE", f"/v2/a/blobs/{DIGEST.replace(':', '%3A')}", "blob"),
        ("POST", "/v2/a/blobs/uploads/", "other"),
        ("PUT", "/v2/a/manifests/v1", "write"),
        ("GET", "/twodfs/token?service=x", "other"),
        ("GET", "/v2/A/manifests/v1", "invalid"),
        ("GET", "*", "invalid"),
    ],
)
def test_what_metrics_and_logs_call_a_request(method: str, target: str, label: str) -> None:
    assert parse(method, target).label == label


@pytest.mark.parametrize("target", ["/v2/a/b/tags/list?x=1", "/v2/a/b/blobs/uploads/1?x=/", "/v2/a/b/manifests/md5:0"])
def test_a_request_that_is_passed_on_says_its_repository_too(target: str) -> None:
    request = parse("GET", target)
    assert isinstance(request, Other)
    assert (request.method, request.target, request.repository) == ("GET", target, repository("a/b"))


@pytest.mark.parametrize(
    ("query", "most", "last"),
    [
        ("", None, ""),
        ("?n=100", 100, ""),
        ("?n=1&last=v1--edge", 1, "v1--edge"),
        ("?last=v1%2d%2dedge&n=7", 7, "v1--edge"),
        ("?last=v1", None, "v1"),
    ],
)
def test_a_list_of_tags(query: str, most: int | None, last: str) -> None:
    request = parse("GET", f"/v2/a/b/tags/list{query}")
    assert isinstance(request, TagsPull)
    assert (request.repository, request.most, request.last, request.label) == (repository("a/b"), most, last, "other")


@pytest.mark.parametrize(
    "rest",
    [
        *("list?n=0", "list?n=-1", "list?n=ten", "list?n=", "list?n=1&n=2", "list?n=%31%30;last=a"),
        *("list?last=", "list?last=ukD72mdD%2FmjM=", "list?last=a&last=b", "list?next_page=x"),
        "list?last=" + "a" * 129,
        *("list/", "lists", "%6cist", "list/v1"),
    ],
)
def test_lists_of_tags_that_a_registry_has_in_ways_of_its_own_are_passed_on(rest: str) -> None:
    assert not isinstance(parse("GET", f"/v2/a/b/tags/{rest}"), TagsPull)
    assert not isinstance(parse("HEAD", "/v2/a/b/tags/list"), TagsPull)


def test_the_token_endpoint_is_told_by_its_path_alone() -> None:
    assert isinstance(parse("BREW", "/twodfs/token"), TokenEndpointRequest)
    assert isinstance(parse("GET", "/twodfs/token/"), Other)


def test_the_targets_of_a_rollout_are_parsed_once() -> None:
    target = "/v2/a/manifests/v1--0.0.0.1"
    assert parse("GET", target) is parse("GET", target)
    assert parse("GET", target) is not parse("HEAD", target)
    long = f"{target}?ns={'x' * 400}"
    assert parse("GET", long) is not parse("GET", long)


def test_a_request_that_breaks_the_grammar_is_a_value_that_needs_what_nobody_has() -> None:
    broken = parse("GET", "/v2/a/manifests/.bad")
    assert isinstance(broken, InvalidRequest)
    assert isinstance(broken.problem, GrammarError)
    with pytest.raises(ScopeError):
        broken.scopes()
    nowhere = parse("GET", "nowhere")
    assert isinstance(nowhere, InvalidRequest)
    assert isinstance(nowhere.problem, TargetError)
