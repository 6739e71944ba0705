"""Who may read what of three registries with repositories of the same names, after everything was cached."""

import contextlib
import hashlib
import json
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import product

import pytest

from tests.lab.caller import ACCEPT, Caller
from tests.lab.images import Image, build_image, push
from tests.lab.peers import require
from tests.lab.proxy import Proxy
from tests.lab.redis import Redis
from tests.lab.registries import (
    HUB,
    NAMES,
    NAMESPACES,
    PASSWORDS,
    SHELF_LOGIN,
    TOKENS,
    Registries,
    three_registries,
    ways,
)
from tests.lab.registry_client import Answer, RegistryClient, basic
from tests.lab.signing import KeyPair, signature_tag
from tests.lab.token_server import LOGIN, OTHER_LOGIN, SERVICE

USERS: Mapping[str, tuple[str, str] | None] = {"ann": LOGIN, "bob": OTHER_LOGIN, "nobody": None}
REPOSITORIES = ("team/model", "bob/model", "team/same")
OWNERS = {PASSWORDS: "bob", TOKENS: "ann", HUB: "nobody"}
CELLS = {(0, column): {"file": b"%d" % column} for column in range(2)}
REFUSED = {401, 403}


def image_of(registry: str, repository: str) -> Image:
    """Return another image for each repository of each registry, but for one that all of them have."""
    about = "same" if repository == "team/same" else f"{registry} {repository}"
    return build_image(CELLS, base={"base.txt": about.encode()})


def may_read(user: str, registry: str, repository: str) -> bool:
    if registry == PASSWORDS:
        return USERS[user] == SHELF_LOGIN
    if registry == HUB or user == "ann":
        return True
    return user == "bob" and repository.startswith("bob/")


@pytest.fixture(scope="module")
def registries(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registries]:
    require("docker-registry")

    def fill(name: str, url: str) -> None:
        for repository in REPOSITORIES:
            push(image_of(name, repository), url, repository, "v1")

    with three_registries(tmp_path_factory.mktemp("rights"), fill) as started:
        yield started


@pytest.fixture(scope="module")
def credentials(registries: Registries) -> Mapping[tuple[str, str, str], str]:
    """Return what each user shows for each repository of each registry."""
    found = {}
    for user, login in USERS.items():
        for repository in REPOSITORIES:
            for registry in (PASSWORDS, HUB):
                found[user, registry, repository] = basic(*login) if login else ""
            token = Caller("", login).token(registries.tokens.url, SERVICE, f"repository:{repository}:pull")
            found[user, TOKENS, repository] = f"Bearer {token}"
    return found


@pytest.fixture(scope="module", params=["two replicas and Redis", "an edge directory"])
def replicas(
    request: pytest.FixtureRequest, registries: Registries, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[list[Proxy]]:
    """Real processes that sign what they cut, and remember what a registry allowed for the whole test."""
    directory = tmp_path_factory.mktemp("replicas")
    keys = KeyPair.generate(directory, "signing")
    more = f'auth.ttl = 3600\ncache.tag_ttl = 3600\nsigning.key = "{keys.private}"\n'
    with contextlib.ExitStack() as stack:
        if request.param == "an edge directory":
            more += f'edge.directory = "{directory}/edge"\nedge.min_free = 0\nworkers = 2\n'
            names = ["node"]
        else:
            require("redis-server")
            more += f'cache.redis_url = "{stack.enter_context(Redis.start(directory)).url}"\n'
            names = ["one", "other"]
        started = []
        for name in names:
            (directory / name).mkdir()
            proxy = Proxy.start(directory / name, registries.default.url, config=registries.config(more=more))
            started.append(stack.enter_context(proxy))
        yield started


@dataclass(frozen=True)
class Thing:
    """Something to be read of a repository."""

    what: str
    target: str
    digest: str


@pytest.fixture(scope="module")
def things(
    replicas: list[Proxy], credentials: Mapping[tuple[str, str, str], str]
) -> Mapping[tuple[str, str], list[Thing]]:
    """Have everything read by somebody who may, and so cached."""
    found = {}
    with RegistryClient(replicas[0].url) as client:
        for registry in NAMES:
            for repository in REPOSITORIES:
                reader = Reader(client, registry, credentials[OWNERS[registry], registry, repository])
                if registry == HUB or may_read(OWNERS[registry], registry, repository):
                    found[registry, repository] = list(everything(reader, registry, repository))
    return found


@dataclass(frozen=True)
class Reader:
    client: RegistryClient
    registry: str
    authorization: str
    turn: int = 0

    def ask(self, target: str, method: str = "GET") -> Answer:
        way = ways(self.registry)[self.turn % 3]
        given = {"Authorization": self.authorization} if self.authorization else {}
        return self.client.request(method, way.target(target), headers={"Accept": ACCEPT, **way.headers, **given})

    def read(self, target: str) -> bytes:
        answer = self.ask(target)
        assert answer.status == 200, (self.registry, target, answer.body)
        return answer.body


def everything(reader: Reader, registry: str, repository: str) -> Iterator[Thing]:
    base = f"/v2/{repository}"
    source = image_of(registry, repository)

    def manifest(what: str, reference: str) -> Thing:
        return thing(what, f"{base}/manifests/{reference}")

    def thing(what: str, target: str) -> Thing:
        return Thing(what, target, digest_of(reader.read(target)))

    yield manifest("tag", "v1")
    yield manifest("pinned source", source.digest)
    yield thing("allotment", f"{base}/blobs/{source.allotments[0, 1].blob.digest}")
    partition = manifest("partition", "v1--0.0.0.1")
    yield partition
    yield manifest("pinned partition", partition.digest)
    child = manifest("child manifest", json.loads(reader.read(partition.target))["manifests"][0]["digest"])
    yield child
    yield thing("config", f"{base}/blobs/{json.loads(reader.read(child.target))['config']['digest']}")
    signature = manifest("signature", signature_tag(partition.digest))
    yield signature
    yield manifest("pinned signature", signature.digest)
    payload = json.loads(reader.read(signature.target))["layers"][0]["digest"]
    yield thing("payload", f"{base}/blobs/{payload}")
    signed = json.loads(reader.read(f"{base}/blobs/{payload}"))["critical"]["identity"]["docker-reference"]
    host = {PASSWORDS: signed.partition("/")[0]}.get(registry, NAMESPACES[registry])
    assert signed == f"{host}/{repository}"


def digest_of(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


def test_everybody_reads_what_the_registry_lets_them_and_nothing_else(
    replicas: list[Proxy],
    things: Mapping[tuple[str, str], list[Thing]],
    credentials: Mapping[tuple[str, str, str], str],
) -> None:
    wrong, counted = [], {True: 0, False: 0}
    with contextlib.ExitStack() as stack:
        clients = [stack.enter_context(RegistryClient(replica.url)) for replica in (*replicas, *replicas)[:2]]
        for turn, client in enumerate(clients):
            for (registry, repository), readable in things.items():
                for user in USERS:
                    may = may_read(user, registry, repository)
                    reader = Reader(client, registry, credentials[user, registry, repository], turn + 1)
                    for thing in readable:
                        answer = reader.ask(thing.target)
                        counted[may] += 1
                        read = (answer.status, digest_of(answer.body))
                        is_right = read == (200, thing.digest) if may else answer.status in REFUSED
                        if not is_right:
                            wrong.append((turn, user, registry, repository, thing.what, answer.status))
    assert not wrong
    assert min(counted.values()) > 100


def test_what_one_registry_has_is_not_there_in_another_under_the_same_name(
    replicas: list[Proxy],
    things: Mapping[tuple[str, str], list[Thing]],
    credentials: Mapping[tuple[str, str, str], str],
) -> None:
    """By digest, also for those who may read the repository of that name in both."""
    wrong, counted, read = [], {True: 0, False: 0}, []
    with RegistryClient(replicas[-1].url) as client:
        for registry, other, repository, user in product(NAMES, NAMES, REPOSITORIES, USERS):
            readable = things.get((registry, repository), ())
            if other == registry or repository == "team/same":
                continue
            may = may_read(user, other, repository)
            reader = Reader(client, other, credentials[user, other, repository])
            for thing in (one for one in readable if one.target.endswith(one.digest)):
                is_shared = thing.what == "allotment"  # every one of these images has it
                # A replica waits a second for what another may be about to tell, but not with HEAD.
                status = reader.ask(thing.target, "HEAD" if may else "GET").status
                counted[may] += 1
                if status not in (({200} if is_shared else {404}) if may else REFUSED):
                    wrong.append((user, other, repository, thing.what, "of", registry, status))
                if may and thing.what == "pinned partition":
                    read.append((other, reader.authorization, thing))
    assert not wrong
    assert min(counted.values()) > 50

    def get(what: tuple[str, str, Thing]) -> int:
        other, authorization, thing = what
        with RegistryClient(replicas[0].url) as own:
            return Reader(own, other, authorization).ask(thing.target).status

    with ThreadPoolExecutor(len(read)) as pool:
        assert set(pool.map(get, read)) == {404}


def test_credentials_for_one_registry_open_no_other(
    replicas: list[Proxy],
    things: Mapping[tuple[str, str], list[Thing]],
    credentials: Mapping[tuple[str, str, str], str],
) -> None:
    strange = {PASSWORDS: credentials["ann", TOKENS, "team/same"], TOKENS: basic(*SHELF_LOGIN)}
    with RegistryClient(replicas[-1].url) as client:
        for registry, authorization in strange.items():
            for thing in things[registry, "team/same"]:
                assert Reader(client, registry, authorization).ask(thing.target).status in REFUSED, thing


def test_one_repository_is_the_same_in_all_three_but_for_the_names_that_are_signed(
    things: Mapping[tuple[str, str], list[Thing]],
) -> None:
    """The tests above are worth what the registries have in common."""
    digests = [{one.what: one.digest for one in things[name, "team/same"]} for name in NAMES]
    for what in ("tag", "partition", "child manifest", "config", "allotment"):
        assert len({one[what] for one in digests}) == 1
    for what in ("signature", "payload"):
        assert len({one[what] for one in digests}) == 3
