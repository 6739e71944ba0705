"""Every address at which a part of a signed partition can be read, asked by who may and by who may not.

All settings that make the proxy remember are on: what one user filled must open nothing to another, and
nothing to the same user once the right is gone.
"""

import http.client
import json
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import bcrypt
import pytest

from tests.lab.caller import Caller, Partition
from tests.lab.images import PushedImage, push_field_image
from tests.lab.peers import require
from tests.lab.proxy import Proxy
from tests.lab.redis import Redis
from tests.lab.registry import Registry
from tests.lab.signing import KeyPair, signature_tag
from tests.lab.token_server import LOGIN, OTHER_LOGIN, token_server

CELLS = {(row, col): {f"m/{row}-{col}": b"%d.%d" % (row, col)} for row in range(2) for col in range(2)}
TAG = "v1--0.0.1.1"
REFUSED = {401, 403}


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, PushedImage]:
    require("docker-registry")
    directory = tmp_path_factory.mktemp("private")
    with Registry.start(directory) as registry:
        return directory, push_field_image(registry.url, "team/model", "v1", cells=CELLS)


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> KeyPair:
    require("openssl")
    return KeyPair.generate(tmp_path_factory.mktemp("keys"), "signing")


def remembering(keys: KeyPair, redis: Redis, auth_ttl: int) -> str:
    return (
        f'[cache]\nredis_url = "{redis.url}"\nredis_timeout = 2\ntag_ttl = 600\n[auth]\nttl = {auth_ttl}\n'
        f'[signing]\nkey = "{keys.private}"\nregistry = "registry.example.org"\n'
    )


def everything(caller: Caller, image: PushedImage) -> Partition:
    """Read a whole partition with its signatures, and so fill all caches; return every address of it."""
    partition = Partition.read(caller, image, TAG)
    base = f"/v2/{image.repository}"
    targets = list(partition.targets)
    for signed in (targets[1], targets[2]):
        digest = signed.rpartition("/")[2]
        tag = f"{base}/manifests/{signature_tag(digest)}"
        answer = caller.read(tag)
        assert answer.status == http.client.OK, answer.body
        manifest = json.loads(answer.body)
        parts = (manifest["config"], *manifest["layers"])
        targets += [tag, f"{base}/manifests/{answer.headers['docker-content-digest']}"]
        targets += [f"{base}/blobs/{part['digest']}" for part in parts]
        targets += [f"{base}/referrers/{digest}", f"{base}/referrers/{digest}?artifactType=x/y"]
    found = Partition(tuple(targets))
    assert found.statuses(caller) == {200}
    assert len(set(targets)) > 12
    return found


@pytest.fixture
def replicas(tmp_path: Path) -> Iterator[Callable[[str, str], list[Proxy]]]:
    with ExitStack() as stack:

        def start(upstream: str, config: str) -> list[Proxy]:
            directories = [tmp_path / name for name in ("one", "two")]
            for directory in directories:
                directory.mkdir()
            return [stack.enter_context(Proxy.start(directory, upstream, config=config)) for directory in directories]

        yield start


def test_with_tokens_the_second_user_reads_none_of_it_on_any_replica(
    filled: tuple[Path, PushedImage],
    keys: KeyPair,
    redis_server: Redis,
    tmp_path: Path,
    replicas: Callable[[str, str], list[Proxy]],
) -> None:
    directory, image = filled
    with (
        token_server(tmp_path) as tokens,
        Registry.start(directory, extra_config=tokens.registry_config()) as registry,
    ):
        started = replicas(registry.url, remembering(keys, redis_server, auth_ttl=600))
        found = everything(Caller(started[0].url, LOGIN), image)
        for proxy in started:
            assert found.statuses(Caller(proxy.url, OTHER_LOGIN)) <= REFUSED
            assert found.statuses(Caller(proxy.url)) <= REFUSED
            assert found.statuses(Caller(proxy.url, LOGIN)) == {200}
            assert found.statuses(Caller(proxy.url, OTHER_LOGIN)) <= REFUSED


def test_at_the_door_the_rules_hold_for_all_of_it_on_any_replica(
    filled: tuple[Path, PushedImage],
    keys: KeyPair,
    redis_server: Redis,
    tmp_path: Path,
    replicas: Callable[[str, str], list[Proxy]],
) -> None:
    directory, image = filled
    clients = tmp_path / "clients"
    words = {user: bcrypt.hashpw(word.encode(), bcrypt.gensalt(4)).decode() for user, word in (LOGIN, OTHER_LOGIN)}
    clients.write_text("".join(f"{user}:{word}\n" for user, word in words.items()))
    door = (
        f'[upstream.credentials]\nkind = "static"\nusername = "servant"\npassword = "pass"\n'
        f'[auth.clients]\nhtpasswd = "{clients}"\n'
        f'[[auth.clients.rules]]\nusers = ["{LOGIN[0]}"]\nrepositories = ["team/*"]\n'
        f'[[auth.clients.rules]]\nusers = ["*"]\nrepositories = ["open/**"]\n'
    )
    with Registry.start(directory, htpasswd={"servant": "pass"}) as registry:
        started = replicas(registry.url, remembering(keys, redis_server, auth_ttl=600) + door)
        found = everything(Caller(started[0].url, LOGIN), image)
        for proxy in started:
            assert found.statuses(Caller(proxy.url, OTHER_LOGIN)) == {403}
            assert found.statuses(Caller(proxy.url)) == {401}
            assert found.statuses(Caller(proxy.url, LOGIN)) == {200}
        # Digests of one repository open nothing through another that is for everyone.
        everyone = Caller(started[1].url, OTHER_LOGIN)
        for target in found.targets[1:7]:
            elsewhere = target.replace("/team/model/", "/open/model/")
            assert everyone.read(elsewhere).status == 404, elsewhere


def test_a_right_that_was_taken_away_ends_all_of_it_within_auth_ttl(
    filled: tuple[Path, PushedImage],
    keys: KeyPair,
    redis_server: Redis,
    replicas: Callable[[str, str], list[Proxy]],
) -> None:
    directory, image = filled
    with Registry.start(directory, htpasswd=dict([LOGIN])) as registry:
        started = replicas(registry.url, remembering(keys, redis_server, auth_ttl=1))
        callers = [Caller(proxy.url, LOGIN) for proxy in started]
        found = everything(callers[0], image)
        assert found.statuses(callers[1]) == {200}
        passwords = directory / "htpasswd"
        passwords.write_text(passwords.read_text().replace(f"{LOGIN[0]}:", "someone:"))
        deadline = time.monotonic() + 60
        while any(caller.read(target).status != 401 for caller in callers for target in found.targets):
            assert time.monotonic() < deadline, "the right is still good"
            time.sleep(0.1)
        assert [found.statuses(caller) for caller in callers] == [{401}, {401}]
