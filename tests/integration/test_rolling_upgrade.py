"""Two releases with different flattening versions share a Redis while replicas are exchanged one by one."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import orjson
import pytest

from tests.lab import command
from tests.lab.images import PushedImage, push_field_image
from tests.lab.programs import environment, program
from tests.lab.proxy import Proxy
from tests.lab.redis import Redis
from tests.lab.registry import Registry
from tests.lab.registry_client import RegistryClient
from twodfs.oci.digest import digest_of

# Two cells with the same blob: what they become is what the versions differ in.
CELLS = {(row, col): {f"{row}/{col % 2}": b"%d %d" % (row, col % 2)} for row in range(2) for col in range(3)}
PARTITION = "v1--0.0.0.2"
PREVIOUS = "tests.lab.previous_release"


@pytest.fixture(scope="module")
def image(registry: Registry) -> PushedImage:
    return push_field_image(registry.url, "upgrade/model", "v1", cells=CELLS)


@contextmanager
def replica(directory: Path, name: str, registry: Registry, redis: Redis, module: str) -> Iterator[Proxy]:
    (directory / name).mkdir()
    settings = {"TWODFS_PROXY_CACHE_REDIS_URL": redis.url, "TWODFS_PROXY_CACHE_REDIS_TIMEOUT": "2"}
    with Proxy.start(directory / name, registry.url, environment=settings, module=module) as started:
        yield started


def pull(proxy: Proxy, image: PushedImage, reference: str) -> list[str]:
    """Pull index, manifest and config; returns their digests, each hashed here."""
    with RegistryClient(proxy.url) as client:
        top = client.get_manifest(image.repository, reference)
        assert top.status == 200, top
        (entry,) = orjson.loads(top.body)["manifests"]
        manifest = client.get_manifest(image.repository, entry["digest"])
        assert manifest.status == 200, manifest
        assert digest_of(manifest.body) == entry["digest"]
        named = orjson.loads(manifest.body)["config"]["digest"]
        config = client.request("GET", f"/v2/{image.repository}/blobs/{named}")
        assert config.status == 200, config
        assert digest_of(config.body) == named
    return [digest_of(top.body), entry["digest"], named]


def test_old_and_new_digests_stay_pullable_through_either_release(
    registry: Registry, image: PushedImage, redis_server: Redis, tmp_path: Path
) -> None:
    with replica(tmp_path, "new", registry, redis_server, "proxy") as new:
        with replica(tmp_path, "old", registry, redis_server, PREVIOUS) as old:
            before = pull(old, image, PARTITION)
            after = pull(new, image, PARTITION)
            assert before[0] != after[0]
            # A client may get the tag from one release and what it names from the other.
            assert pull(new, image, before[0]) == before
            assert pull(old, image, after[0]) == after
            assert pull(old, image, PARTITION) == before
        assert pull(new, image, before[0]) == before
    with replica(tmp_path, "newer", registry, redis_server, "proxy") as fresh:
        assert pull(fresh, image, before[0]) == before
        assert pull(fresh, image, PARTITION) == after


def forget_partitions(redis: Redis) -> None:
    with redis.client() as client:
        for key in client.scan_iter("twodfs:partition:*"):
            client.delete(key)


def test_a_digest_of_the_old_release_is_made_again_by_the_new_one(
    registry: Registry, image: PushedImage, redis_server: Redis, tmp_path: Path
) -> None:
    with replica(tmp_path, "old", registry, redis_server, PREVIOUS) as old:
        before = pull(old, image, PARTITION)
    with replica(tmp_path, "new", registry, redis_server, "proxy") as new:
        forget_partitions(redis_server)
        assert pull(new, image, before[0]) == before


def test_a_digest_of_the_new_release_lasts_at_old_replicas_as_long_as_its_documents(
    registry: Registry, image: PushedImage, redis_server: Redis, tmp_path: Path
) -> None:
    """The old release does not know how the new one wrote them; a new replica makes them again."""
    with replica(tmp_path, "new", registry, redis_server, "proxy") as new:
        digest, *_ = pull(new, image, PARTITION)
    with replica(tmp_path, "old", registry, redis_server, PREVIOUS) as old:
        forget_partitions(redis_server)
        with RegistryClient(old.url) as asking:
            assert asking.get_manifest(image.repository, digest).status == 404
    with replica(tmp_path, "again", registry, redis_server, "proxy") as back:
        assert pull(back, image, digest)[0] == digest


def test_a_pin_that_was_copied_into_the_registry_needs_neither_redis_nor_the_proxy(
    registry: Registry, image: PushedImage, proxy: Proxy
) -> None:
    before = pull(proxy, image, PARTITION)
    options = ("--all", "--preserve-digests", "--src-tls-verify=false", "--dest-tls-verify=false")
    source = f"docker://{proxy.address}/{image.repository}:{PARTITION}"
    target = f"docker://{registry.address}/{image.repository}:pinned"
    command.run((program("skopeo"), "--insecure-policy", "copy", "--quiet", *options, source, target), environment())
    with RegistryClient(registry.url) as alone:
        pinned = alone.get_manifest(image.repository, before[0])
        assert pinned.status == 200
        assert digest_of(pinned.body) == before[0]
        assert alone.get_manifest(image.repository, before[1]).status == 200
        assert alone.request("GET", f"/v2/{image.repository}/blobs/{before[2]}").status == 200
