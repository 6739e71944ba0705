import pytest

from proxy.cache.images.reference import CachedName
from proxy.repository import Repository
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


def test_an_image_of_a_further_registry_has_its_name_in_front() -> None:
    name = CachedName.parse("hub@library/busybox:1.36")
    assert (name.upstream, name.repository, name.tag) == ("hub", "library/busybox", "1.36")
    assert name.place == Repository("hub", "library/busybox")
    assert str(name) == "hub@library/busybox:1.36"
    assert CachedName.of(Repository.of_key(str(name.place)), "1.36") == name
    assert name.tagged("2") == CachedName.parse("hub@library/busybox:2")
    assert name != CachedName.parse("library/busybox:1.36")
    assert CachedName.parse("hub@127.0.0.1:5000/library/busybox:1.36") == name
    assert CachedName.parse("hub@sha256:v1").repository == "sha256"  # a name, and no digest
    assert Repository.of_key("library/busybox") == CachedName.parse("library/busybox:1").place


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("model", "has no tag; write it out, as model:v1"),
        ("127.0.0.1:5000/model", "has no tag"),
        ("a/b@sha256:" + "0" * 64, "is a digest, or no name; name an image by its tag"),
        ("b@sha256:" + "0" * 64, "is a digest, or no name; name an image by its tag"),
        ("hub@b@sha256:" + "0" * 64, "is a digest, or no name; name an image by its tag"),
        ("Hub@a/b:v1", "is a digest, or no name; name an image by its tag"),
        ("@a/b:v1", "is a digest, or no name; name an image by its tag"),
        ("hub@a/b", "has no tag; write it out, as a/b:v1"),
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
