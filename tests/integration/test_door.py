"""The proxy is the door: its own credentials go to the registry, and its own rules say who may do what."""

import base64
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import aiohttp
import bcrypt
import pytest
from moto.server import ThreadedMotoServer

from tests.lab.caller import Caller, Partition
from tests.lab.command import CommandError
from tests.lab.engines import DockerEngine, PullFailed
from tests.lab.fake_registry import proxied
from tests.lab.images import PushedImage, push_field_image
from tests.lab.layers import Blob
from tests.lab.peers import require
from tests.lab.proxy import Proxy
from tests.lab.registry import Registry
from tests.lab.registry_client import RegistryClient, basic
from tests.lab.token_server import ISSUER, LOGIN, OTHER_LOGIN, SERVICE, TokenServer, token_server
from tests.lab.waiting import wait_until

SERVANT = ("servant", "servants-own-password")
CELLS = {(row, col): {f"m/{row}-{col}": b"%d.%d" % (row, col)} for row in range(3) for col in range(3)}
TAG = "v1--0.0.1.1"
RULES = """
[[auth.clients.rules]]
users = ["ann"]
repositories = ["**"]
actions = ["pull", "push", "delete"]
[[auth.clients.rules]]
users = ["b*"]
repositories = ["bob/**", "open/*"]
actions = ["pull", "push"]
"""


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    require("docker-registry")
    directory = tmp_path_factory.mktemp("behind")
    with Registry.start(directory) as registry:
        for repository in ("team/model", "bob/model", "open/model"):
            push_field_image(registry.url, repository, "v1", cells=CELLS)
    return directory


@pytest.fixture(scope="module")
def registry(directory: Path) -> Iterator[Registry]:
    """One that knows the proxy's servant alone."""
    with Registry.start(directory, htpasswd=dict([SERVANT])) as started:
        yield started


@pytest.fixture
def image(registry: Registry) -> PushedImage:
    return push_field_image(registry.url, "team/model", "v1", cells=CELLS, credentials=SERVANT)


def beside(directory: Path, own: Path) -> Path:
    """Return a directory for another registry with the same storage: one with locks of its own."""
    made = own / "beside"
    made.mkdir()
    (made / "storage").symlink_to(directory / "storage")
    return made


def passwords(directory: Path, *logins: tuple[str, str]) -> Path:
    file = directory / "clients"
    lines = (f"{user}:{bcrypt.hashpw(word.encode(), bcrypt.gensalt(4)).decode()}\n" for user, word in logins)
    file.write_text("".join(lines))
    return file


def static(login: tuple[str, str] = SERVANT) -> str:
    return f'[upstream.credentials]\nkind = "static"\nusername = "{login[0]}"\npassword = "{login[1]}"\n'


def guarded(directory: Path, rules: str = RULES) -> str:
    return f'[auth.clients]\nhtpasswd = "{passwords(directory, LOGIN, OTHER_LOGIN)}"\n{rules}'


@pytest.fixture
def door(tmp_path: Path, registry: Registry) -> Iterator[Proxy]:
    with Proxy.start(tmp_path, registry.url, config=static() + guarded(tmp_path)) as started:
        yield started


def said(body: bytes) -> tuple[str, str]:
    (error,) = json.loads(body)["errors"]
    return error["code"], error["message"]


def test_docker_logs_in_pulls_and_pushes_through_the_door(
    door: Proxy, image: PushedImage, docker_engine: DockerEngine
) -> None:
    reference = image.reference(door.address, TAG)
    with pytest.raises(CommandError, match=r"(?i)unauthorized"):
        docker_engine.log_in(door.address, LOGIN[0], "wr0ng")
    with pytest.raises(CommandError, match=r"(?i)unauthorized"):
        docker_engine.log_in(door.address, *SERVANT)
    with pytest.raises(PullFailed):
        docker_engine.pull(reference)
    docker_engine.log_in(door.address, *OTHER_LOGIN)
    with pytest.raises(PullFailed, match="no rule of the proxy allows repository:team/model:pull"):
        docker_engine.pull(reference)
    docker_engine.log_in(door.address, *LOGIN)
    docker_engine.pull(reference)
    assert docker_engine.files(reference) == image.files(image.select((0, 0, 1, 1)))
    docker_engine.tag(reference, f"{door.address}/pushed/model:v1")
    docker_engine.push(f"{door.address}/pushed/model:v1")
    docker_engine.remove(f"{door.address}/pushed/model:v1")
    docker_engine.remove(reference)
    docker_engine.log_out(door.address)
    assert Caller(door.url, LOGIN).read("/v2/pushed/model/manifests/v1").status == 200


def test_rules_hold_for_everything_also_after_another_filled_the_caches(door: Proxy, image: PushedImage) -> None:
    ann, bob, anonymous = (Caller(door.url, login) for login in (LOGIN, OTHER_LOGIN, None))
    partition = Partition.read(ann, image, TAG)
    assert partition.statuses(bob) == {403}
    assert partition.statuses(anonymous) == {401}
    assert partition.statuses(Caller(door.url, SERVANT)) == {401}
    for target in ("/v2/bob/model/manifests/v1", f"/v2/open/model/manifests/{TAG}", "/v2/"):
        assert bob.read(target).status == 200
    for target in ("/v2/open/deep/model/manifests/v1", "/v2/bobby/model/manifests/v1", "/v2/_catalog"):
        assert bob.read(target).status == 403
    assert ann.read("/v2/_catalog").status == 200
    assert bob.read("/v2/open/model/manifests/v1", "DELETE").status == 403
    answer = bob.read(partition.targets[0])
    assert said(answer.body) == (
        "DENIED",
        "bob may not do this: no rule of the proxy allows repository:team/model:pull",
    )


def test_the_log_names_who_was_let_in_and_nobody_else(door: Proxy) -> None:
    with RegistryClient(door.url) as client:  # one connection
        for login in (LOGIN, OTHER_LOGIN, (LOGIN[0], "wr0ng"), None):
            headers = {"Authorization": basic(*login)} if login else {}
            client.request("GET", "/v2/", headers=headers)

    def lines() -> list[dict[str, Any]]:
        return [one for one in door.log_events() if one["event"] == "request"]

    wait_until(lambda: len(lines()) == 4, "four lines")  # they are written by a thread
    assert [(one["status"], one.get("user")) for one in lines()] == [
        (200, "ann"),
        (200, "bob"),
        (401, None),
        (401, None),
    ]


def test_a_mount_needs_the_right_to_read_where_it_comes_from(door: Proxy, image: PushedImage) -> None:
    assert image.field_blob is not None
    blob = image.field_blob.digest
    uploads = "/v2/bob/stolen/blobs/uploads/"
    form = {"Content-Type": "application/x-www-form-urlencoded"}
    with RegistryClient(door.url, OTHER_LOGIN) as bob:
        assert bob.request("POST", f"{uploads}?mount={blob}&from=team/model").status == 403
        assert bob.request("POST", f"{uploads}?mount={blob}").status == 403
        stolen = bob.request("POST", uploads, headers=form, body=f"mount={blob}&from=team/model".encode())
        assert stolen.status == 403
        assert bob.request("HEAD", f"/v2/bob/stolen/blobs/{blob}").status == 404
        assert bob.request("POST", f"{uploads}?mount={blob}&from=bob/model").status == 201
        bob.push_blob("bob/own", Blob(b"own", "text/plain"))
    with RegistryClient(door.url, LOGIN) as ann:
        assert ann.request("POST", f"/v2/any/where/blobs/uploads/?mount={blob}&from=team/model").status == 201


@pytest.mark.parametrize(
    "target",
    [
        "/v2/bob/model/../../team/model/manifests/v1",
        "/v2/bob/model/%2e%2e/%2e%2e/team/model/manifests/v1",
        "/v2/bob/model/manifests/x%2F..%2F..%2F..%2F..%2Fteam%2Fmodel%2Fmanifests%2Fv1",
        "/v2/bob//model/manifests/v1",
        "//v2/team/model/manifests/v1",
        "/debug/vars",
        "/",
        "/twodfs/token",
        "http://elsewhere.example.org/v2/team/model/manifests/v1",
    ],
)
def test_tricks_with_paths_do_not_open_the_door(door: Proxy, registry: Registry, target: str) -> None:
    before = len(registry.requests())
    with RegistryClient(door.url, OTHER_LOGIN) as bob:
        assert bob.request("GET", target).status in {400, 403}
    assert len(registry.requests()) == before


def test_what_the_client_shows_never_reaches_the_registry(door: Proxy, registry: Registry, image: PushedImage) -> None:
    """The registry knows only the servant: Ann's password there would be refused."""
    answer = Caller(door.url).ask("/v2/", authorization=basic(*LOGIN), Cookie="a=b")
    assert answer.status == 200
    assert "team/model" in Caller(door.url).ask("/v2/_catalog", authorization=basic(*LOGIN)).body.decode()
    unknown = Caller(door.url).ask(f"/v2/{image.repository}/manifests/none", authorization=basic(*LOGIN))
    assert unknown.status == 404  # of failures the registry's log says whose they are
    assert LOGIN[0] not in registry.log.read_text()
    assert f"auth.user.name={SERVANT[0]}" in registry.log.read_text()


def test_everyone_may_read_where_that_is_said_and_nobody_may_write(
    tmp_path: Path, registry: Registry, image: PushedImage, docker_engine: DockerEngine
) -> None:
    config = static() + "[auth.clients]\nallow_anonymous = true\n"
    with Proxy.start(tmp_path, registry.url, config=config) as proxy:
        reference = image.reference(proxy.address, TAG)
        docker_engine.pull(reference)
        docker_engine.remove(reference)
        with RegistryClient(proxy.url) as client:
            assert client.request("POST", "/v2/team/model/blobs/uploads/").status == 403
            assert client.request("DELETE", "/v2/team/model/manifests/v1").status == 403


def test_some_repositories_may_be_for_everyone(tmp_path: Path, registry: Registry) -> None:
    everyone = '[[auth.clients.rules]]\nusers = ["anonymous", "*"]\nrepositories = ["open/**"]\n'
    rules = f"allow_anonymous = true\n{everyone}"
    config = static() + guarded(tmp_path, rules)
    with Proxy.start(tmp_path, registry.url, config=config) as proxy:
        anonymous, bob = Caller(proxy.url), Caller(proxy.url, OTHER_LOGIN)
        assert anonymous.read("/v2/open/model/manifests/v1").status == 200
        assert anonymous.read("/v2/team/model/manifests/v1").status == 401
        assert bob.read("/v2/team/model/manifests/v1").status == 403
        assert anonymous.ask("/v2/open/model/manifests/v1", authorization=basic("bob", "wr0ng")).status == 401


@pytest.fixture
def tokens(tmp_path: Path) -> Iterator[TokenServer]:
    with token_server(tmp_path) as started:
        yield started


def test_tokens_open_the_door_and_a_token_registry_is_asked_with_the_servants(
    tmp_path: Path, directory: Path, image: PushedImage, tokens: TokenServer, docker_engine: DockerEngine
) -> None:
    """Clients' tokens stay here, although the registry behind would believe them."""
    host = tokens.url.removeprefix("http://").partition("/")[0]
    config = (
        f'{static(LOGIN)}[auth]\nrealm_hosts = ["{host}"]\n[auth.token]\nkeys = "{tokens.certificate}"\n'
        f'issuer = "{ISSUER}"\naudience = "{SERVICE}"\nrealm = "{tokens.url}"\n'
    )
    with (
        Registry.start(beside(directory, tmp_path), extra_config=tokens.registry_config()) as registry,
        Proxy.start(tmp_path, registry.url, config=config) as proxy,
    ):
        reference = image.reference(proxy.address, TAG)
        docker_engine.log_in(proxy.address, *OTHER_LOGIN)
        with pytest.raises(PullFailed, match=r"denied|unauthorized"):
            docker_engine.pull(reference)
        docker_engine.log_in(proxy.address, *LOGIN)
        docker_engine.pull(reference)
        assert docker_engine.files(reference) == image.files(image.select((0, 0, 1, 1)))
        docker_engine.remove(reference)
        docker_engine.log_out(proxy.address)
        ann, bob = Caller(proxy.url, LOGIN), Caller(proxy.url, OTHER_LOGIN)
        partition = Partition.read(ann, image, TAG)
        assert partition.statuses(bob) == {401}
        assert partition.statuses(Caller(proxy.url)) == {401}
        own = f"Bearer {bob.token(tokens.url, SERVICE, 'repository:bob/model:pull')}"
        assert bob.ask("/v2/bob/model/manifests/v1", authorization=own).status == 200
        to_push = f"Bearer {bob.token(tokens.url, SERVICE, 'repository:bob/model:push')}"
        assert bob.ask("/v2/bob/model/manifests/v1", authorization=to_push).status == 401
        refused = bob.ask(partition.targets[0], authorization=own)
        assert refused.status == 401
        assert 'scope="repository:team/model:pull",error="insufficient_scope"' in refused.headers["www-authenticate"]
        # What we ask upstream with is for the one repository of the request.
        asked = [one.parameters.get("scope") for one in tokens.requests if one.parameters.get("account") == [LOGIN[0]]]
        assert ["repository:bob/model:pull"] in asked


async def test_our_own_credentials_go_to_no_realm_that_is_not_listed(
    tmp_path: Path, directory: Path, tokens: TokenServer
) -> None:
    with Registry.start(beside(directory, tmp_path), extra_config=tokens.registry_config()) as registry:
        settings = {"kind": "static", "username": LOGIN[0], "password": LOGIN[1]}
        assert "in auth.realm_hosts" in await refusal(registry, settings)
    assert tokens.requests == []


async def test_a_docker_configuration_without_the_registry_and_a_wrong_password_are_named(
    tmp_path: Path, directory: Path, tokens: TokenServer
) -> None:
    empty = beside(directory, tmp_path) / "config.json"
    write(empty, "{}")
    host = tokens.url.removeprefix("http://").partition("/")[0]
    with Registry.start(empty.parent, extra_config=tokens.registry_config()) as registry:
        heard = await refusal(registry, {"kind": "docker-config", "file": str(empty)})
        assert f"Docker's configuration has none for {registry.address}" in heard
        wrong = {"kind": "static", "username": LOGIN[0], "password": "wr0ng"}
        heard = await refusal(registry, wrong, auth__realm_hosts=host)
        assert "refused access to" in heard
        assert heard.endswith("(401): check upstream.credentials")


def write(file: Path, content: str) -> None:
    file.write_text(content)


async def refusal(registry: Registry, credentials: Mapping[str, str], **more: str) -> str:
    """Return what a client hears of a proxy that cannot use its own credentials."""
    settings = {f"upstream__credentials__{name}": value for name, value in credentials.items()}
    async with (
        proxied(registry.url, auth__clients__allow_anonymous="true", **settings, **more) as url,
        aiohttp.ClientSession() as client,
        client.get(f"{url}/v2/team/model/manifests/{TAG}") as response,
    ):
        assert response.status == 502
        code, message = said(await response.read())
        assert code == "UNAVAILABLE"
        return message


def started(
    tmp_path: Path, registry: Registry, credentials: str, environment: Mapping[str, str] | None = None
) -> Proxy:
    config = f"[upstream.credentials]\n{credentials}\n[auth.clients]\nallow_anonymous = true\n"
    return Proxy.start(tmp_path, registry.url, config=config, environment=environment)


@pytest.mark.parametrize("form", ["pair", "password"])
def test_a_mounted_secret_may_be_rotated(tmp_path: Path, directory: Path, form: str) -> None:
    secret = tmp_path / "secret"
    username = f'username = "{SERVANT[0]}"' if form == "password" else ""

    def write(password: str) -> None:
        secret.write_text(password if form == "password" else f"{SERVANT[0]}:{password}\n")

    write(SERVANT[1])
    place = beside(directory, tmp_path)
    with (
        Registry.start(place, htpasswd=dict([SERVANT])) as registry,
        started(tmp_path, registry, f'kind = "file"\nfile = "{secret}"\n{username}') as proxy,
    ):
        caller = Caller(proxy.url)
        assert caller.read("/v2/team/model/manifests/v1").status == 200
        registry.stop()
        port = int(registry.address.rpartition(":")[2])
        with Registry.start(place, port=port, htpasswd={SERVANT[0]: "rotated"}):
            refused = caller.read("/v2/team/model/manifests/v1")
            assert said(refused.body)[0] == "DENIED"
            assert "check upstream.credentials" in said(refused.body)[1]
            write("rotated")
            wait_until(lambda: caller.read("/v2/team/model/manifests/v1").status == 200)


def test_credentials_of_dockers_configuration(tmp_path: Path, registry: Registry) -> None:
    file = tmp_path / "config.json"
    auth = base64.b64encode(":".join(SERVANT).encode()).decode()
    file.write_text(json.dumps({"auths": {registry.address: {"auth": auth}}}))
    with started(tmp_path, registry, f'kind = "docker-config"\nfile = "{file}"') as proxy:
        assert Caller(proxy.url).read("/v2/team/model/manifests/v1").status == 200
    environment = {"DOCKER_CONFIG": str(tmp_path)}
    with started(tmp_path, registry, 'kind = "docker-config"', environment) as proxy:
        assert Caller(proxy.url).read("/v2/team/model/manifests/v1").status == 200


@pytest.fixture
def ecr(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Amazon's API as moto speaks it, and credentials that it takes."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "testing")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "testing-secret-key")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    try:
        host, port = server.get_host_and_port()
        yield f"http://{host}:{port}"
    finally:
        server.stop()


def test_tokens_of_ecr(tmp_path: Path, directory: Path, image: PushedImage, ecr: str) -> None:
    settings = f'kind = "ecr"\necr_region = "eu-central-1"\necr_endpoint = "{ecr}"'
    with (
        Registry.start(beside(directory, tmp_path), htpasswd={"AWS": "123456789012-auth-token"}) as registry,
        started(tmp_path, registry, settings) as proxy,
    ):
        partition = Partition.read(Caller(proxy.url), image, TAG)
        assert partition.statuses(Caller(proxy.url)) == {200}
        assert [one for one in proxy.log_events() if one["event"] == "token of ECR exchanged"]


async def test_an_api_of_ecr_that_does_not_answer_is_named(
    registry: Registry, ecr: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert ecr
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    settings = {"kind": "ecr", "ecr_region": "eu-central-1", "ecr_endpoint": "http://127.0.0.1:9"}
    heard = await refusal(registry, settings)
    assert "the proxy's own credentials for the registry cannot be had: the ECR API gave no token" in heard


@pytest.mark.usefixtures("image")
def test_who_may_delete_and_not_read_hears_nothing_of_partitions(tmp_path: Path, registry: Registry) -> None:
    rules = f"""
[[auth.clients.rules]]
users = ["{LOGIN[0]}"]
repositories = ["**"]
actions = ["pull", "push", "delete"]
[[auth.clients.rules]]
users = ["{OTHER_LOGIN[0]}"]
repositories = ["**"]
actions = ["delete"]
"""
    target = f"/v2/team/model/manifests/{TAG}"
    with Proxy.start(tmp_path, registry.url, config=static() + guarded(tmp_path, rules)) as door:
        answers = []
        for address, login in ((door.url, LOGIN), (door.url, OTHER_LOGIN), (registry.url, SERVANT)):
            with RegistryClient(address, login) as client:
                answers.append(client.request("DELETE", target))
    assert answers[0].status == 405
    assert "names a partition of team/model:v1" in said(answers[0].body)[1]
    assert (answers[1].status, answers[1].body) == (answers[2].status, answers[2].body)
