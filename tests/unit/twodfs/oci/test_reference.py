import pytest

from twodfs.errors import InvalidReferenceError
from twodfs.oci.reference import Reference


@pytest.mark.parametrize("port", ["65536", "99999", "0", "00000"])
@pytest.mark.parametrize("host", ["127.0.0.1", "registry.example.com", "[::1]", "localhost"])
def test_a_port_that_no_registry_has_is_said_to_be_one(host: str, port: str) -> None:
    with pytest.raises(InvalidReferenceError, match=rf"the port {port} is outside 1\.\.65535"):
        Reference.parse(f"{host}:{port}/a/b:v1")


@pytest.mark.parametrize("host", ["localhost:1", "a.b:65535", "[::1]", "[::1]:5000", "a.b", "localhost"])
def test_registries_with_and_without_a_port_are_read(host: str) -> None:
    assert Reference.parse(f"{host}/a/b:v1").registry == host
