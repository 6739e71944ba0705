import pytest

from proxy.config import BlobsConfig
from proxy.upstream.redirects import _is_allowed, _is_named, is_public


@pytest.mark.parametrize("address", ["8.8.8.8", "2600::1", "::ffff:8.8.8.8", "64:ff9b::808:808", "2002:808:808::1"])
def test_public_addresses(address: str) -> None:
    assert is_public(address)


@pytest.mark.parametrize(
    "address",
    [
        "0.0.0.0",
        "10.0.0.1",
        "100.64.0.1",
        "127.0.0.1",
        "169.254.169.254",
        "172.31.255.255",
        "192.168.0.1",
        "198.18.0.1",
        "224.0.0.1",
        "233.252.0.1",
        "240.0.0.1",
        "255.255.255.255",
        "::",
        "::1",
        "fe80::1",
        "fe80::1%eth0",
        "fc00::1",
        "ff0e::1",
        "::ffff:127.0.0.1",
        "64:ff9b::7f00:1",
        "2002:7f00:1::",
        "2001:db8::1",
    ],
)
def test_addresses_that_are_not(address: str) -> None:
    assert not is_public(address)


def test_networks_that_are_allowed() -> None:
    networks = BlobsConfig.model_validate({"allowed_networks": "10.1.0.0/16, fd00::/8"}).allowed_networks
    assert _is_allowed("10.1.2.3", networks)
    assert _is_allowed("::ffff:10.1.2.3", networks)
    assert _is_allowed("fd12::1", networks)
    assert _is_allowed("8.8.8.8", networks)
    assert not _is_allowed("10.2.0.1", networks)
    assert not _is_allowed("169.254.169.254", networks)


def test_hosts_that_are_allowed() -> None:
    hosts = BlobsConfig.model_validate({"allowed_hosts": ["minio.lan", "*.Store.example"]}).allowed_hosts
    assert _is_named("MINIO.lan.", hosts)
    assert _is_named("a.b.store.example", hosts)
    for other in ("evil-minio.lan", "minio.lan.evil", "store.example", "evilstore.example", "lan"):
        assert not _is_named(other, hosts)
