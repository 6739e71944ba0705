import pytest

from proxy.cache.images.reference import CachedName
from twodfs.errors import InvalidReferenceError


@pytest.mark.parametrize(
    ("text", "repository", "tag"),
    [
        ("library/model:v1", "library/model", "v1"),
        ("model:v1--0.0.1.2", "model", "v1--0.0.1.2"),
        ("127.0.0.1:5000/library/model:v1", "library/model", "v1"),
        ("registry.example.org/model:v1", "model", "v1"),
        ("localhost/a/b:v1--edge", "a/b", "v1--edge"),
        ("a/b:v1+0.0.1.2", "a/b", "v1--0.0.1.2"),
    ],
)
def test_a_name_is_the_one_that_clients_pull(text: str, repository: str, tag: str) -> None:
    name = CachedName.parse(text)
    assert (name.repository, name.tag) == (repository, tag)
    assert CachedName.parse(str(name)) == name


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("model", "has no tag; write it out, as model:v1"),
        ("127.0.0.1:5000/model", "has no tag"),
        ("a/b@sha256:" + "0" * 64, "is a digest; name an image by its tag"),
        ("A/b:v1", "is no repository"),
        ("../b:v1", "is no repository"),
        ("a/b:v 1", "is no tag"),
        ("a/b:", "is no tag"),
        (":v1", "is no repository"),
    ],
)
def test_what_is_no_name_is_told(text: str, problem: str) -> None:
    with pytest.raises(InvalidReferenceError, match=problem):
        CachedName.parse(text)
