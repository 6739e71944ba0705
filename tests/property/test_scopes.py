"""However a registry decodes and cleans a path, it finds the repository that access control asked about."""

import posixpath
from urllib.parse import unquote

from hypothesis import example, given, settings
from hypothesis import strategies as st

from proxy.requests.grammar import GrammarError, Resource
from proxy.requests.scope import ScopeError, scopes

PARTS = st.sampled_from(
    [
        *("v2", "a", "b", "secret", "manifests", "blobs", "uploads", "upload", "tags", "list", "referrers"),
        *(
            "..",
            ".",
            "%2e%2e",
            "%2E.",
            "%2f",
            "%2F",
            "%252f",
            "%5c",
            "\\",
            "",
            "%00",
            "%",
            "v1",
            "v1%2B0.0.1.1",
        ),
        *("sha256:" + "a" * 64, "sha256%3A" + "b" * 64, "_catalog", "?", "#", ";", "A", "é", "*", "..%2f.."),
    ]
)
PATHS = st.builds(
    lambda parts, glue: "/v2/" + "".join(part + joint for part, joint in zip(parts, glue, strict=False)),
    st.lists(PARTS, min_size=1, max_size=8),
    st.lists(st.sampled_from(["/", "", "//"]), min_size=8, max_size=8),
)
METHODS = st.sampled_from(["GET", "HEAD", "PUT", "POST", "PATCH", "DELETE", "get", "CONNECT"])


@given(METHODS, PATHS | st.text(max_size=60).map(lambda text: f"/v2/{text}"))
@example("GET", "/v2/a/manifests/x%2F..%2F..%2F..%2Fsecret%2Fmanifests%2Fv1")
@settings(max_examples=500)
def test_every_reading_of_a_path_that_is_let_in_names_the_same_repository(method: str, target: str) -> None:
    try:
        wanted = scopes(method, Resource.of(target))
    except (GrammarError, ScopeError):
        return
    path = target.partition("?")[0]
    repositories = [scope.name for scope in wanted if scope.kind == "repository"]
    decoded = [path, unquote(path), unquote(unquote(path))]
    for reading in (*decoded, *(posixpath.normpath(one) for one in decoded)):
        for name in repositories[:1]:
            kind = reading.removeprefix(f"/v2/{name}/").partition("/")[0]
            assert kind in {"manifests", "blobs", "tags", "referrers"}, (reading, name)
        if not repositories:
            assert reading.rstrip("/") in {"/v2", "/v2/_catalog"}
