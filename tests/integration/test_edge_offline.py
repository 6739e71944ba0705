"""Engines, a stock registry that is killed, hangs and comes back, and an edge node between them."""

import base64
import contextlib
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.lab.caller import Caller
from tests.lab.device import Device, PullError
from tests.lab.documents import FieldStyle
from tests.lab.engines import DockerEngine, PullFailed
from tests.lab.engines.engine import Engine
from tests.lab.images import PushedImage, push_field_image
from tests.lab.proxy import Proxy
from tests.lab.registry import Registry
from tests.lab.token_server import LOGIN, OTHER_LOGIN, token_server
from tests.lab.waiting import wait_until

REPOSITORY = "edge/model"
CELLS = {
    (row, col): {f"cell-{row}-{col}": f"weights of {row}/{col} ".encode() * 500} for row in range(3) for col in range(3)
}
MOVED = {cell: {f"new-{name}": text for name, text in files.items()} for cell, files in CELLS.items()}
PULLED = ("v1--0.0.1.1", "v1--0.1.1.2")
NEVER_PULLED = "v1--0.0.1.2"
MISSING_A_CELL = "v1--1.1.2.2"


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[Registry]:
    (tmp_path / "registry").mkdir()
    with Registry.start(tmp_path / "registry") as started:
        yield started


@pytest.fixture
def node(registry: Registry, tmp_path: Path) -> Iterator[Proxy]:
    with started(tmp_path, registry) as proxy:
        yield proxy


def started(directory: Path, registry: Registry, *, port: int | None = None, config: str | None = None) -> Proxy:
    (directory / "node").mkdir(exist_ok=True)
    settings = {"TWODFS_PROXY_EDGE_OFFLINE_AFTER": "1"}
    edge = ("--edge", str(directory / "node" / "edge"))
    return Proxy.start(directory / "node", registry.url, *edge, port=port, config=config, environment=settings)


def pushed(registry: Registry, cells: dict[tuple[int, int], dict[str, bytes]] = CELLS) -> PushedImage:
    return push_field_image(
        registry.url, REPOSITORY, "v1", cells=cells, platforms=("linux/amd64",), field_style=FieldStyle(sizes=True)
    )


def selection(tag: str) -> tuple[int, int, int, int]:
    first_row, first_col, last_row, last_col = map(int, tag.partition("--")[2].split("."))
    return first_row, first_col, last_row, last_col


def check_pull(engine: Engine, node: Proxy, image: PushedImage, tag: str) -> None:
    """Pull into an engine that has nothing of it, and look at every file."""
    reference = image.reference(node.address, tag)
    engine.pull(reference)
    try:
        assert engine.files(reference) == image.files(image.select(selection(tag)))
    finally:
        engine.remove(reference)


def test_pulls_go_on_without_the_registry_and_are_fresh_when_it_is_back(
    registry: Registry, node: Proxy, engine: Engine
) -> None:
    image = pushed(registry)
    for tag in PULLED:
        check_pull(engine, node, image, tag)
    registry.kill()
    for tag in (*PULLED, NEVER_PULLED):
        check_pull(engine, node, image, tag)
    if engine.name != "docker":  # which tries a layer for more than a minute
        with pytest.raises(PullFailed, match="is not on this node"):
            engine.pull(image.reference(node.address, MISSING_A_CELL))
    missing = image.allotments[2, 2].blob.digest
    status, _, said = answer(f"{node.url}/v2/{REPOSITORY}/blobs/{missing}")
    assert (status, f"the blob {missing} of {REPOSITORY} is not on this node".encode() in said) == (503, True)
    registry.launch()
    check_pull(engine, node, pushed(registry, MOVED), PULLED[0])


def answer(url: str, user: tuple[str, str] | None = None, method: str = "GET") -> tuple[int, str | None, bytes]:
    """Return status, Warning and body of an answer."""
    request = urllib.request.Request(url, method=method)
    if user is not None:
        request.add_header("Authorization", basic(user))
    try:
        with urllib.request.urlopen(request, timeout=60) as answered:
            return answered.status, answered.headers["Warning"], answered.read()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.headers["Warning"], error.read()


def basic(user: tuple[str, str]) -> str:
    return "Basic " + base64.b64encode(":".join(user).encode()).decode()


def test_an_engine_waits_once_for_a_registry_that_hangs(
    registry: Registry, node: Proxy, docker_engine: DockerEngine
) -> None:
    image = pushed(registry)
    check_pull(docker_engine, node, image, PULLED[0])
    registry.pause()
    began = time.monotonic()
    check_pull(docker_engine, node, image, PULLED[0])
    check_pull(docker_engine, node, image, PULLED[0])
    assert time.monotonic() - began < 10
    tag = f"{node.url}/v2/{REPOSITORY}/manifests/v1"
    answer(tag)
    assert answer(f"{node.admin_url}/readyz")[0] == 200
    registry.resume()
    wait_until(lambda: answer(tag)[1] is None, "a fresh answer")


@pytest.fixture
def locked(tmp_path: Path) -> Iterator[Registry]:
    """A registry for Ann and Bob."""
    (tmp_path / "locked").mkdir()
    with Registry.start(tmp_path / "locked", htpasswd=dict([LOGIN, OTHER_LOGIN])) as started:
        yield started


async def pull(node: Proxy, tag: str, user: tuple[str, str]) -> None:
    async with Device.of(node.url, Authorization=basic(user)) as device:
        await device.pull(REPOSITORY, tag)


async def refused(node: Proxy, tag: str, user: tuple[str, str]) -> None:
    with pytest.raises(PullError) as raised:
        await pull(node, tag, user)
    assert raised.value.status in (401, 503)


async def test_what_one_user_filled_no_other_reads_without_the_registrys_yes(locked: Registry, tmp_path: Path) -> None:
    image = push_field_image(locked.url, REPOSITORY, "v1", cells=CELLS, platforms=("linux/amd64",), credentials=LOGIN)
    stranger = ("eve", "guess")
    with started(tmp_path, locked) as node:
        await pull(node, PULLED[0], LOGIN)
        await refused(node, PULLED[0], stranger)
        locked.kill()
        await pull(node, PULLED[0], LOGIN)
        said = set()
        for user in (OTHER_LOGIN, stranger, (LOGIN[0], "wrong")):
            await refused(node, PULLED[0], user)
            for target in (f"manifests/{PULLED[0]}", "manifests/v7", f"manifests/{image.digest}"):
                status, _, body = answer(f"{node.url}/v2/{REPOSITORY}/{target}", user)
                assert status == 503
                said.add(body)
            blob = next(one.digest for one in image.blobs if one.size > 1000)
            for digest in (blob, "sha256:" + "0" * 64):
                status, _, body = answer(f"{node.url}/v2/{REPOSITORY}/blobs/{digest}", user)
                assert status == 503
                said.add(body)
        assert len(said) == 1, said
        port = int(node.address.rpartition(":")[2])
    with started(tmp_path, locked, port=port) as node:  # while its registry is down
        await pull(node, PULLED[0], LOGIN)
        await refused(node, PULLED[0], OTHER_LOGIN)
        locked.launch()
        await pull(node, PULLED[0], OTHER_LOGIN)
        await refused(node, PULLED[0], stranger)
        for file in (tmp_path / "node" / "edge" / "blobs" / "sha256").iterdir():
            file.unlink()
        await refused(node, PULLED[0], stranger)
        await pull(node, PULLED[0], OTHER_LOGIN)
        locked.kill()
        await pull(node, PULLED[0], OTHER_LOGIN)
        await pull(node, PULLED[0], LOGIN)


def test_engines_that_show_passwords_go_on_without_the_registry(
    locked: Registry, tmp_path: Path, engine: Engine
) -> None:
    image = push_field_image(locked.url, REPOSITORY, "v1", cells=CELLS, platforms=("linux/amd64",), credentials=LOGIN)
    with started(tmp_path, locked) as node:
        engine.login(node.address, *LOGIN)
        check_pull(engine, node, image, PULLED[0])
        locked.kill()
        check_pull(engine, node, image, PULLED[0])
        engine.login(node.address, *OTHER_LOGIN)
        with pytest.raises(PullFailed):
            engine.pull(image.reference(node.address, PULLED[0]))


async def test_who_shows_nothing_hears_what_the_registry_said_to_nobody(locked: Registry, tmp_path: Path) -> None:
    image = push_field_image(locked.url, REPOSITORY, "v1", cells=CELLS, platforms=("linux/amd64",), credentials=LOGIN)
    with started(tmp_path, locked) as node:
        await pull(node, PULLED[0], LOGIN)
        assert answer(f"{node.url}/v2/{REPOSITORY}/manifests/v1")[0] == 401
        locked.kill()
        known, unknown = image.allotments[0, 0].blob.digest, "sha256:" + "0" * 64
        for digest in (known, unknown):
            for target in (f"blobs/{digest}", f"manifests/{digest}"):
                for method in ("GET", "HEAD"):
                    status, warning, _ = answer(f"{node.url}/v2/{REPOSITORY}/{target}", method=method)
                    assert (status, warning) == (401, '110 - "Response is Stale"'), (method, target)


def test_a_greeting_is_the_one_that_the_registry_gave(locked: Registry, tmp_path: Path) -> None:
    with started(tmp_path, locked) as node:
        assert answer(f"{node.url}/v2/")[0] == 401
        assert answer(f"{node.url}/v2/", LOGIN)[0] == 200
        locked.kill()
        assert answer(f"{node.url}/v2/")[0] == 401
        assert answer(f"{node.url}/v2/", LOGIN)[0] == 200
        assert answer(f"{node.url}/v2/", OTHER_LOGIN)[0] == 503


def test_engines_that_get_tokens_go_on_without_registry_and_token_server(tmp_path: Path, engine: Engine) -> None:
    (tmp_path / "registry").mkdir()
    with Registry.start(tmp_path / "registry") as open_registry:
        image = pushed(open_registry)
    with contextlib.ExitStack() as stack:
        tokens = stack.enter_context(token_server(tmp_path))
        config = f'[auth]\nrealm = "proxy"\nrealm_hosts = ["{urlsplit(tokens.url).netloc}"]\n'
        registry = Registry.start(tmp_path / "registry", extra_config=tokens.registry_config())
        with registry, started(tmp_path, registry, config=config) as node:
            engine.login(node.address, *LOGIN)
            check_pull(engine, node, image, PULLED[0])
            registry.kill()
            stack.close()
            check_pull(engine, node, image, PULLED[0])
            engine.login(node.address, *OTHER_LOGIN)
            with pytest.raises(PullFailed):
                engine.pull(image.reference(node.address, PULLED[0]))
            ours = Caller(node.url, LOGIN).read(f"/v2/{REPOSITORY}/manifests/v1")
            assert (ours.status, ours.headers["warning"]) == (200, '110 - "Response is Stale"')
            # What the node gave is worth nothing at the registry.
            scope = f"repository:{REPOSITORY}:pull"
            token = Caller(node.url, LOGIN).token(f"{node.url}/twodfs/token", "lab-registry", scope)
            registry.launch()
            answered = Caller(node.url).ask(f"/v2/{REPOSITORY}/manifests/v1", authorization=f"Bearer {token}")
            assert answered.status == 401
