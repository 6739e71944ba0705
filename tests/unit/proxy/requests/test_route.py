from functools import partial

import pytest

from proxy.repository import DEFAULT_UPSTREAM, Repository
from proxy.requests.route import (
    ContentPull,
    ManifestWrite,
    MistypedPull,
    Other,
    PartitionPull,
    ReferrersPull,
    ReferrersTagPull,
    SignaturePull,
    TargetError,
    origin_form,
    route,
)
from twodfs.errors import PartitionError
from twodfs.oci.digest import Digest

DIGEST = "sha256:" + "ab" * 32
repository = partial(Repository, DEFAULT_UPSTREAM)


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize("tag", ["v1--0.0.1.2", "v1+0.0.1.2", "v1%2B0.0.1.2", "v1%2b0.0.1.2", "v1--0.0.1.2?ns=x"])
def test_reading_a_partition_tag_is_a_partition_pull(method: str, tag: str) -> None:
    routed = route(method, f"/v2/library/model/manifests/{tag}")
    assert isinstance(routed, PartitionPull)
    assert (routed.repository, [str(one) for one in routed.readings]) == (repository("library/model"), ["v1--0.0.1.2"])


@pytest.mark.parametrize("kind", ["manifests", "blobs"])
def test_reading_by_digest_is_a_content_pull(kind: str) -> None:
    for reference in (DIGEST, DIGEST.replace(":", "%3A")):
        routed = route("GET", f"/v2/a/{kind}/{reference}")
        assert routed == ContentPull(repository("a"), DIGEST, kind == "manifests")  # type: ignore[arg-type]


@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_reading_the_tag_of_a_signature_is_a_signature_pull(method: str) -> None:
    tag = DIGEST.replace(":", "-") + ".sig"
    assert route(method, f"/v2/a/b/manifests/{tag}") == SignaturePull(repository("a/b"), Digest(DIGEST))
    assert route("PUT", f"/v2/a/b/manifests/{tag}") == ManifestWrite(repository("a/b"))


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
    expected = ReferrersPull(repository("a/b"), Digest(DIGEST), artifact_type)
    assert route("GET", f"/v2/a/b/referrers/{DIGEST}{query}") == expected


def test_the_tag_in_place_of_the_referrers_api() -> None:
    tag = DIGEST.replace(":", "-")
    assert route("GET", f"/v2/a/b/manifests/{tag}") == ReferrersTagPull(repository("a/b"), Digest(DIGEST))
    assert isinstance(route("GET", f"/v2/a/b/manifests/{tag}.att"), Other)


@pytest.mark.parametrize("query", ["?last=x", "?artifactType=a&artifactType=b", "?n=1&last=y", "?x"])
def test_further_pages_and_other_filters_are_the_registrys(query: str) -> None:
    assert isinstance(route("GET", f"/v2/a/b/referrers/{DIGEST}{query}"), Other)


@pytest.mark.parametrize("method", ["PUT", "DELETE"])
@pytest.mark.parametrize("reference", ["v1", "v1--0.0.1", DIGEST])
def test_writing_any_reference_is_a_write(method: str, reference: str) -> None:
    named = Digest(reference) if reference == DIGEST else None
    assert route(method, f"/v2/a/b/manifests/{reference}") == ManifestWrite(repository("a/b"), named)


@pytest.mark.parametrize("method", ["PUT", "DELETE"])
def test_writing_what_looks_like_a_partition_tells_how_it_can_be_read(method: str) -> None:
    routed = route(method, "/v2/a/b/manifests/v1--0.0.1.2--edge")
    assert isinstance(routed, ManifestWrite)
    assert [(one.base, one.chain) for one in routed.readings] == [
        ("v1", ("0.0.1.2", "edge")),
        ("v1--0.0.1.2", ("edge",)),
    ]


@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_reading_a_partition_tag_with_a_mistyped_rectangle(method: str) -> None:
    routed = route(method, "/v2/a/b/manifests/v1--0.0.1")
    assert routed == MistypedPull(repository("a/b"), (("v1", "0.0.1"),))


@pytest.mark.parametrize(
    "target",
    [
        "/",
        "/v2/",
        "/v2/a/manifests/v1",
        "/v2/a/manifests/v1--a.0.1.2",
        "/v2/a/blobs/uploads/" + DIGEST,
        "/v2/a/tags/list?n=v1--0.0.0.0",
        "/v2/a/manifests/sha256-" + "ab" * 31 + ".sig",
        "/v2/a/manifests/sha256-" + "AB" * 32 + ".sig",
        "/v1/a/manifests/v1--0.0.0.0",
    ],
)
def test_all_else_is_passed_on(target: str) -> None:
    assert isinstance(route("GET", target), Other)


def test_a_repository_may_be_called_manifests() -> None:
    routed = route("GET", "/v2/a/manifests/b/manifests/v1--0.0.0.0")
    assert isinstance(routed, PartitionPull)
    assert routed.repository == repository("a/manifests/b")


def test_a_partition_tag_that_is_too_long_is_refused() -> None:
    with pytest.raises(PartitionError, match="at most 128"):
        route("GET", f"/v2/a/manifests/{'t' * 125}--0.0.0.0")


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
