"""Engines that have the proxy as a mirror pull partitions of images whose names never mention it.

What tells them so are the very files of `deploy/`. They run where `docker.io` and `registry.example.org` are registries
of the lab, and where nothing else can be reached.
"""

import functools
import json
import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Final, TypeVar

import pytest

from tests.lab.command import CommandError
from tests.lab.cri import CriError
from tests.lab.internet import AUTHORITIES, HOSTS
from tests.lab.machine import Machine
from tests.lab.mirror_clients import ContainerdClient, ContainersClients, DockerClient
from tests.lab.mirrored_registries import HUB, LOGIN, PRIVATE, MirroredRegistries, mirrored_registries
from tests.lab.namespaces import Namespaces
from tests.lab.peers import require
from tests.lab.todays_root import TodaysRoot

DEPLOY: Final = Path(__file__).parents[2] / "deploy"
REGISTRIES: Final = (DEPLOY / "podman" / "registries.conf").read_text()
DAEMON: Final = json.loads((DEPLOY / "docker" / "daemon.json").read_text())
DEPLOYED: Final = (DEPLOY / "mirror" / "config.toml").read_text()
CUT_OFF: Final = """
listen = "127.0.0.1:5000"
[[upstream]]
name = "hub"
url = "http://127.0.0.1:9"
namespaces = ["docker.io"]
prefix = "hub"
[[upstream]]
name = "example"
url = "http://127.0.0.2:9"
namespaces = ["registry.example.org"]
prefix = "example"
"""
HUB_ALONE: Final = """
listen = "127.0.0.1:5000"
[[upstream]]
name = "hub"
url = "https://registry-1.docker.io"
prefix = "hub"
[[upstream]]
name = "another"
url = "http://127.0.0.1:9"
prefix = "another"
"""
HUB_BY_HOST: Final = """
listen = "127.0.0.1:5000"
[[upstream]]
name = "example"
url = "https://registry.example.org"
[[upstream]]
name = "hub"
url = "https://registry-1.docker.io"
hosts = ["hub.mirror.internal"]
"""
FRONTS: Final = {
    "deployed": DEPLOYED,
    "by host": HUB_BY_HOST,
    "hub alone": HUB_ALONE,
    "cut off": CUT_OFF,
    "empty": f'{CUT_OFF}[edge]\ndirectory = "DIRECTORY"\n',
    "stopped": "",
}
MIRROR: Final = "127.0.0.1:5000"
_DENIED: Final = "unauthorized|authentication required"
FAILURES: Final = (CommandError, CriError)


class Engines:
    """The engines of a generation, in one root; each is started when it is first asked for."""

    def __init__(self, root: Namespaces, *, containerd: int) -> None:
        self.certs = root.directory / "certs.d"
        shutil.copytree(DEPLOY / "containerd" / "certs.d", self.certs)
        self.root = root
        self.containerd = functools.cache(lambda: ContainerdClient(root, f"{root.lab}/certs.d", major=containerd))
        self.docker = functools.cache(lambda store: DockerClient(root, DAEMON | STORES[store]))
        self.containers = functools.cache(lambda: ContainersClients(root, REGISTRIES))


Test = TypeVar("Test", bound=Callable[..., None])
Pull = Callable[..., dict[str, bytes]]
STORES: Final[dict[str, dict[str, object]]] = {
    "the only": {},
    "classic": {"features": {"containerd-snapshotter": False}},
    "containerd": {"features": {"containerd-snapshotter": True}},
}
CLIENTS: Final[dict[str, tuple[str, Callable[[Engines], Pull]]]] = {
    "bookworm's ctr": ("bookworm", lambda engines: engines.containerd().ctr),
    "bookworm's containerd by CRI": ("bookworm", lambda engines: engines.containerd().cri),
    "bookworm's Docker": ("bookworm", lambda engines: engines.docker("the only").pull),
    "bookworm's podman": ("bookworm", lambda engines: engines.containers().podman),
    "bookworm's skopeo": ("bookworm", lambda engines: engines.containers().skopeo),
    "today's ctr": ("todays", lambda engines: engines.containerd().ctr),
    "today's ctr --local": ("todays", lambda engines: functools.partial(engines.containerd().ctr, is_local=True)),
    "today's containerd by CRI": ("todays", lambda engines: engines.containerd().cri),
    "today's Docker, classic store": ("todays", lambda engines: engines.docker("classic").pull),
    "today's Docker, containerd store": ("todays", lambda engines: engines.docker("containerd").pull),
    "today's podman": ("todays", lambda engines: engines.containers().podman),
    "today's skopeo": ("todays", lambda engines: engines.containers().skopeo),
    "today's buildah": ("todays", lambda engines: engines.containers().buildah),
}
DOCKERS: Final = [name for name in CLIENTS if "Docker" in name]
CONTAINERDS: Final = [name for name in CLIENTS if "ctr" in name or "CRI" in name]
OTHERS: Final = [name for name in CLIENTS if name not in (*DOCKERS, *CONTAINERDS)]


class Lab:
    """Registries, engines, and what stands where the engines look for a mirror."""

    def __init__(self, directory: Path, stack: ExitStack) -> None:
        self.registries: MirroredRegistries = stack.enter_context(mirrored_registries(_made(directory / "servers")))
        within = self.registries.internet.argv()

        def started(generation: str) -> Engines:
            place = _made(directory / generation)
            if generation == "bookworm":
                return Engines(stack.enter_context(Machine.enter(place, within=within)), containerd=1)
            root = TodaysRoot.enter(place, files=(HOSTS, AUTHORITIES), within=within)
            return Engines(stack.enter_context(root), containerd=2)

        self.engines = functools.cache(started)

    def pull(self, name: str) -> Pull:
        generation, made = CLIENTS[name]
        return made(self.engines(generation))


def _made(directory: Path) -> Path:
    directory.mkdir()
    return directory


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    require("docker-registry", "containerd", "ctr", "dockerd", "docker", "runc", "podman", "skopeo", "curl")
    with ExitStack() as stack:
        yield Lab(tmp_path_factory.mktemp("mirrors"), stack)


class Front:
    """What stands at the mirror's address."""

    def __init__(self, log: Path | None) -> None:
        self._log = log

    def answers(self) -> list[tuple[str, int]]:
        """Return the paths that it was asked for so far, each with the status of the answer."""
        assert self._log is not None
        lines = [json.loads(line) for line in self._log.read_text().splitlines() if line.startswith("{")]
        return [(line["path"], line["status"]) for line in lines if "path" in line]


@pytest.fixture(scope="module")
def front(request: pytest.FixtureRequest, lab: Lab) -> Iterator[Front]:
    with ExitStack() as stack:
        config = FRONTS[request.param].replace("DIRECTORY", str(lab.registries.directory / "edge"))
        yield Front(stack.enter_context(lab.registries.proxy(config)).log if config else None)


def with_front(name: str) -> Callable[[Test], Test]:
    """Put one of the fronts at the mirror's address for a test."""

    def decorated(test: Test) -> Test:
        marked: Test = pytest.mark.usefixtures("front")(pytest.mark.parametrize("front", [name], indirect=True)(test))
        return marked

    return decorated


def with_clients(*names: str) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("client", names)


@with_front("deployed")
@with_clients(*CLIENTS)
def test_docker_hubs_image_is_pulled_by_tag_by_partition_and_by_digest(lab: Lab, front: Front, client: str) -> None:
    hub, pull = lab.registries.hub, lab.pull(client)
    assert pull(f"{HUB}:v1--0.0.0.1") == hub.model.files([(0, 0), (0, 1)])
    digest = lab.engines("bookworm").containers().digest(f"{HUB}:v1--1.0.1.2")
    assert pull(f"{HUB}@{digest}") == hub.model.files([(1, 0), (1, 1), (1, 2)])
    before = len(front.answers())
    assert pull(f"{HUB}:plain") == hub.plain.files()
    assert any(path.endswith("/library/model/manifests/plain") for path, _ in front.answers()[before:])


@with_front("deployed")
@with_clients(*CONTAINERDS)
def test_containerd_shows_the_mirror_the_credentials_for_the_registry(lab: Lab, client: str) -> None:
    private, pull = lab.registries.private, lab.pull(client)
    assert pull(f"{PRIVATE}:v1--2.0.2.1", LOGIN) == private.model.files([(2, 0), (2, 1)])
    assert pull(f"{PRIVATE}:plain", LOGIN) == private.plain.files()
    with pytest.raises(FAILURES):
        pull(f"{PRIVATE}:v1--2.0.2.1")


@with_front("deployed")
@pytest.mark.parametrize("generation", ["bookworm", "todays"])
def test_a_kubelet_that_names_the_registry_keeps_its_credentials_from_the_mirror(lab: Lab, generation: str) -> None:
    pull = functools.partial(lab.engines(generation).containerd().cri, of="https://registry.example.org")
    assert pull(f"{PRIVATE}:plain", LOGIN) == lab.registries.private.plain.files()
    with pytest.raises(CriError):
        pull(f"{PRIVATE}:v1--2.0.2.1", LOGIN)


@with_front("deployed")
@with_clients(*OTHERS)
def test_podman_and_its_kin_want_a_login_at_the_mirror(lab: Lab, client: str) -> None:
    private, pull = lab.registries.private, lab.pull(client)
    containers = lab.engines(CLIENTS[client][0]).containers()
    containers.log_in({"registry.example.org": LOGIN})
    assert pull(f"{PRIVATE}:plain") == private.plain.files()
    with pytest.raises(CommandError, match=_DENIED):
        pull(f"{PRIVATE}:v1--2.0.2.1")
    containers.log_in({"example.mirror.internal:5000": LOGIN})
    assert pull(f"{PRIVATE}:v1--2.0.2.1") == private.model.files([(2, 0), (2, 1)])


@with_front("deployed")
@with_clients(*OTHERS)
def test_a_login_at_a_path_of_the_mirror_goes_to_the_default_registrys_token_server(lab: Lab, client: str) -> None:
    containers = lab.engines(CLIENTS[client][0]).containers()
    containers.log_in({f"{MIRROR}/example": LOGIN})
    try:
        containers.set(REGISTRIES.replace("example.mirror.internal:5000", f"{MIRROR}/example"))
        with pytest.raises(CommandError, match="who are you"):
            lab.pull(client)(f"{PRIVATE}:v1--2.0.2.1")
    finally:
        containers.set(REGISTRIES)


@with_front("deployed")
@with_clients("bookworm's skopeo", "today's skopeo")
def test_a_mirror_for_digests_alone_gets_no_tags_and_one_for_tags_no_digests(lab: Lab, client: str) -> None:
    pull, containers = lab.pull(client), lab.engines(CLIENTS[client][0]).containers()
    pinned = f"{HUB}@{containers.digest(f'{HUB}:v1--1.0.1.2')}"
    try:
        containers.set(REGISTRIES.replace('"all"', '"digest-only"'))
        assert pull(pinned)
        with pytest.raises(CommandError, match="manifest unknown"):
            pull(f"{HUB}:v1--1.0.1.2")
        containers.set(REGISTRIES.replace('"all"', '"tag-only"'))
        assert pull(f"{HUB}:v1--1.0.1.2")
        with pytest.raises(CommandError, match="manifest unknown"):
            pull(pinned)
    finally:
        containers.set(REGISTRIES)


@with_front("deployed")
@with_clients("bookworm's ctr", "today's ctr")
def test_a_mirror_that_may_not_resolve_gets_no_tags(lab: Lab, client: str) -> None:
    engines = lab.engines(CLIENTS[client][0])
    shutil.copytree(engines.certs, engines.certs.with_name("digests.d"))
    file = engines.certs.with_name("digests.d") / "docker.io" / "hosts.toml"
    file.write_text(file.read_text().replace('["pull", "resolve"]', '["pull"]'))
    pull = functools.partial(lab.pull(client), hosts=f"{engines.root.lab}/digests.d")
    with pytest.raises(CommandError, match="not found"):
        pull(f"{HUB}:v1--1.0.1.2")
    assert pull(f"{HUB}:plain") == lab.registries.hub.plain.files()


@with_front("by host")
def test_dockers_mirror_may_have_a_name_of_its_own_where_another_registry_is_the_default(lab: Lab) -> None:
    docker = DockerClient(
        lab.engines("todays").root, STORES["classic"] | {"registry-mirrors": ["http://hub.mirror.internal:5000"]}
    )
    assert docker.pull(f"{HUB}:v1--2.2.2.2") == lab.registries.hub.model.files([(2, 2)])


@with_front("by host")
@with_clients(*DOCKERS)
def test_dockers_classic_store_shows_the_mirror_the_login_of_docker_hub(lab: Lab, client: str) -> None:
    """The mirror's default registry is one that asks for a password: it takes this one."""
    store = {"bookworm's Docker": "the only"}.get(client, client.split()[-2])
    docker = DockerClient(lab.engines(CLIENTS[client][0]).root, DAEMON | STORES[store])
    docker.log_in("https://index.docker.io/v1/", LOGIN)
    if store == "containerd":
        with pytest.raises(CommandError):
            docker.pull("docker.io/team/model:v1--0.0.0.0")
    else:
        assert docker.pull("docker.io/team/model:v1--0.0.0.0") == lab.registries.private.model.files([(0, 0)])


@with_front("stopped")
@with_clients(*CLIENTS)
def test_where_the_proxy_is_stopped_the_registry_answers(lab: Lab, client: str) -> None:
    goes_on_with_the_registry(lab, client)


@with_front("cut off")
@with_clients(*CLIENTS)
def test_where_the_proxy_reaches_no_registry_the_registry_answers(lab: Lab, client: str) -> None:
    goes_on_with_the_registry(lab, client)


def goes_on_with_the_registry(lab: Lab, client: str) -> None:
    """Check that plain images come, and that it is the registry itself that knows no partitions."""
    hub, pull = lab.registries.hub, lab.pull(client)
    assert pull(f"{HUB}:plain") == hub.plain.files()
    asked = len(hub.registry.requests())
    with pytest.raises(FAILURES):
        pull(f"{HUB}:v1--0.0.0.1")
    answers = {(one.target, one.status) for one in hub.registry.requests()[asked:]}
    assert ("/v2/library/model/manifests/v1--0.0.0.1", 404) in answers


@with_front("empty")
@with_clients(*CLIENTS)
def test_where_an_edge_node_has_nothing_yet_and_reaches_no_registry_the_registry_answers(
    lab: Lab, front: Front, client: str
) -> None:
    before = len(front.answers())
    assert lab.pull(client)(f"{HUB}:plain") == lab.registries.hub.plain.files()
    statuses = {status for _, status in front.answers()[before:]}
    assert {503} <= statuses <= {502, 503}  # 502: podman 4 asks for the registries of long ago, too


@with_front("hub alone")
@with_clients(*CONTAINERDS)
def test_a_registry_that_the_proxy_does_not_know_answers_itself(lab: Lab, front: Front, client: str) -> None:
    before = len(front.answers())
    assert lab.pull(client)(f"{PRIVATE}:plain", LOGIN) == lab.registries.private.plain.files()
    assert ("/v2/team/model/manifests/plain", 404) in front.answers()[before:]


@with_front("hub alone")
@with_clients(*OTHERS)
def test_a_name_that_the_proxy_does_not_know_is_no_obstacle(lab: Lab, front: Front, client: str) -> None:
    """It takes what it is asked for for its default registry's, which has no such image."""
    lab.engines(CLIENTS[client][0]).containers().log_in({"registry.example.org": LOGIN})
    before = len(front.answers())
    assert lab.pull(client)(f"{PRIVATE}:plain") == lab.registries.private.plain.files()
    assert 200 not in {status for _, status in front.answers()[before:]}


@with_front("deployed")
@with_clients(*CLIENTS)
def test_what_the_proxy_says_of_a_selection_is_in_the_messages_of_podman_and_its_kin_alone(
    lab: Lab, client: str
) -> None:
    with pytest.raises(FAILURES) as caught:
        lab.pull(client)(f"{HUB}:v1--7.7.8.8")
    assert ("the field of library/model:v1 has rows 0..2" in str(caught.value)) == (client in OTHERS)
