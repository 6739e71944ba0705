"""`twodfs-proxy doctor` against registries and Redis that are well, ill, or not there."""

import json
import os
import ssl
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from proxy.config import load
from proxy.doctor.examination import examine
from proxy.doctor.finding import Finding, Level
from proxy.doctor.image import ImageProbe
from tests.lab.certificates import Authority
from tests.lab.fake_registry import FakeRegistry, served, serving
from tests.lab.images import build_image, push_field_image, push_image
from tests.lab.process import free_port
from tests.lab.redis import Redis
from tests.lab.registry import Registry
from tests.lab.registry_client import basic
from tests.lab.token_server import LOGIN, token_server

SOURCE = Path(__file__).parents[2]
CELLS = {(0, col): {f"{col}": b"%d" % col * 1000} for col in range(3)}
IMAGE = build_image(CELLS)
PROBE = ImageProbe("team/model", "v1")


def doctor(*arguments: str, docker_config: Path | None = None) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"DOCKER_CONFIG": str(docker_config or "/nonexistent"), "COLUMNS": "200"}
    argv = [sys.executable, "-W", "error", "-m", "proxy", "doctor", *arguments]
    return subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False, cwd=SOURCE, env=environment)


def document(done: subprocess.CompletedProcess[str]) -> Any:
    assert not done.stderr, done.stderr
    return json.loads(done.stdout)


def by_check(shown: Any) -> dict[str, str]:
    return {one["check"]: one["level"] for one in shown["findings"]}


async def findings_of(upstream: str, probe: ImageProbe | None = PROBE, **settings: str) -> dict[str, Finding]:
    given: dict[str, str | None] = {path.replace("__", "."): value for path, value in settings.items()}
    found = await examine(load({"upstream.url": upstream} | given, {}), probe)
    return {one.check: one for one in found}


def test_an_edge_node_is_looked_at(registry: Registry, tmp_path: Path) -> None:
    shown = document(doctor("--upstream", registry.url, "--edge", str(tmp_path), "--json"))
    edge = [one for one in shown["findings"] if one["check"] == "edge"]
    assert len(edge) == 4
    assert "problem" not in {one["level"] for one in edge}
    (redis,) = (one["sentence"] for one in shown["findings"] if one["check"] == "redis")
    assert "the edge directory keeps" in redis
    assert not list(tmp_path.iterdir())


def test_a_stock_registry_with_an_image_is_well(registry: Registry) -> None:
    push_field_image(registry.url, "doctor/field", "v1", cells=CELLS)
    done = doctor("--upstream", registry.url, "--repository", "doctor/field", "--tag", "v1", "--json")
    shown = document(done)
    assert done.returncode == 0
    assert shown["verdict"] == "ok"
    levels = by_check(shown)
    assert set(levels.values()) == {"ok"}
    assert {"dns", "connect", "api", "clock", "keep-alive", "auth", "access", "digest"} <= set(levels)
    assert {"head", "field", "blob-head", "redirect", "range", "redis", "files", "disk"} <= set(levels)


def test_without_an_image_it_says_what_was_left_out(registry: Registry) -> None:
    done = doctor("--upstream", registry.url)
    assert done.returncode == 0, done.stderr
    assert "give --repository and --tag" in done.stdout
    assert "Nothing to change." in done.stdout


def test_an_option_before_the_command_counts_as_well(registry: Registry) -> None:
    argv = [sys.executable, "-m", "proxy", "--upstream", registry.url, "doctor", "--json"]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False, cwd=SOURCE)
    assert document(done)["upstream"] == registry.url


@pytest.fixture
def behind_one_proxy(registry: Registry, tmp_path: Path) -> Path:
    """A registry that is well and one that is not there."""
    file = tmp_path / "proxy.toml"
    harbor = f'[[upstream]]\nname = "harbor"\nurl = "{registry.url}"\n'
    file.write_text(f'{harbor}[[upstream]]\nname = "hub"\nurl = "http://127.0.0.1:{free_port()}"\n')
    return file


def test_each_of_several_registries_is_looked_at(behind_one_proxy: Path, registry: Registry) -> None:
    push_field_image(registry.url, "doctor/field", "v1", cells=CELLS)
    image = ("--repository", "doctor/field", "--tag", "v1")
    done = doctor("--config", str(behind_one_proxy), *image, "--json")
    shown = document(done)
    assert (done.returncode, shown["upstream"]) == (1, registry.url)
    assert list(shown["upstreams"]) == ["hub"]
    levels: dict[str, dict[str, str]] = {"harbor": {}, "hub": {}, "": {}}
    for one in shown["findings"]:
        levels[one.get("registry", "")][one["check"]] = one["level"]
    assert set(levels["harbor"].values()) == {"ok"}
    assert "digest" in levels["harbor"]  # the image is the default registry's
    assert levels["hub"] == {"dns": "ok", "connect": "problem", "api": "skipped"}
    assert {"settings", "redis"} <= set(levels[""])
    assert not {"dns", "connect", "api", "image"} & set(levels[""])
    told = doctor("--config", str(behind_one_proxy))
    assert "hub: no address of the registry takes connections" in told.stdout


def test_one_of_several_registries_may_be_chosen(behind_one_proxy: Path, registry: Registry) -> None:
    push_field_image(registry.url, "doctor/field", "v1", cells=CELLS)
    image = ("--repository", "doctor/field", "--tag", "v1", "--json")
    shown = document(doctor("--config", str(behind_one_proxy), "--registry", "harbor", *image))
    assert {one.get("registry") for one in shown["findings"]} == {"harbor", None}
    assert shown["verdict"] == "ok"
    done = doctor("--config", str(behind_one_proxy), "--registry", "hbor")
    assert (done.returncode, done.stdout) == (2, "")
    assert "--registry 'hbor' is none of those in the configuration: harbor, hub" in done.stderr


def test_an_image_that_is_not_there(registry: Registry) -> None:
    done = doctor("--upstream", registry.url, "--repository", "doctor/none", "--tag", "v9")
    assert done.returncode == 1
    assert "the registry answers 404 for doctor/none:v9" in done.stdout


@pytest.mark.parametrize(
    "arguments",
    [
        ("--upstream", "nonsense"),
        (),
        ("--upstream", "http://127.0.0.1:1", "--tag", "v1"),
        ("--upstream", "http://127.0.0.1:1", "--repository", "UPPER", "--tag", "v1"),
        ("--upstream", "http://127.0.0.1:1", "--config", "/nonexistent.toml"),
        ("--no-such-option",),
    ],
)
def test_a_wrong_command_line_ends_with_2(arguments: tuple[str, ...]) -> None:
    done = doctor(*arguments)
    assert done.returncode == 2
    assert done.stderr


def test_nothing_listens() -> None:
    done = doctor("--upstream", f"http://127.0.0.1:{free_port()}", "--json")
    assert done.returncode == 1
    shown = document(done)
    levels = by_check(shown)
    assert (levels["connect"], levels["api"]) == ("problem", "skipped")
    (said,) = [one["sentence"] for one in shown["findings"] if one["check"] == "connect"]
    assert said.endswith(": connection refused")


def test_a_name_that_nobody_knows() -> None:
    done = doctor("--upstream", "https://registry.invalid", "--json")
    assert done.returncode == 1
    assert by_check(document(done))["dns"] == "problem"


@pytest.fixture
def guarded(tmp_path: Path) -> Iterator[Registry]:
    with Registry.start(tmp_path, htpasswd={"ann": "pl4nted-s3cret"}) as started:
        push_image(started.url, "team/model", "v1", credentials=("ann", "pl4nted-s3cret"))
        yield started


def logged_in(directory: Path, registry: str, user: str, password: str) -> Path:
    auth = basic(user, password).removeprefix("Basic ")
    directory.mkdir()
    (directory / "config.json").write_text(json.dumps({"auths": {registry: {"auth": auth}}}))
    return directory


def test_basic_authentication_with_and_without_a_login(guarded: Registry, tmp_path: Path) -> None:
    arguments = ("--upstream", guarded.url, "--repository", "team/model", "--tag", "v1")
    stranger = doctor(*arguments)
    assert stranger.returncode == 1
    assert "'twodfs login' or 'docker login'" in stranger.stdout
    home = logged_in(tmp_path / "ann", guarded.address, "ann", "pl4nted-s3cret")
    ann = doctor(*arguments, docker_config=home)
    assert ann.returncode == 0, ann.stdout
    assert "asks for a name and password (Basic)" in ann.stdout
    assert "with the credentials of Docker's configuration" in ann.stdout
    forged = logged_in(tmp_path / "eve", guarded.address, "ann", "wr0ng-s3cret")
    eve = doctor(*arguments, docker_config=forged)
    assert eve.returncode == 1
    assert "the registry answers 401 for team/model:v1" in eve.stdout
    encoded = basic("ann", "pl4nted-s3cret").removeprefix("Basic ")
    for done in (stranger, ann, eve):
        printed = done.stdout + done.stderr
        assert not [secret for secret in ("pl4nted", "wr0ng", encoded) if secret in printed]


def test_docker_credentials_go_to_a_foreign_token_server_only_when_it_is_named(tmp_path: Path) -> None:
    with (
        token_server(tmp_path) as tokens,
        Registry.start(tmp_path, extra_config=tokens.registry_config()) as started,
    ):
        home = logged_in(tmp_path / "ann", started.address, *LOGIN)
        host = tokens.url.removeprefix("http://").removesuffix("/token")
        arguments = ("--upstream", started.url, "--repository", "public/none", "--tag", "v1")
        unnamed = doctor(*arguments, docker_config=home)
        assert f"given out by {host}: clients must reach that" in unnamed.stdout
        assert "asked anonymously" in unnamed.stdout
        assert [one.authorization for one in tokens.requests] == [None, None], "once to see whether it answers"
        named = doctor(*arguments, "--realm-host", host, docker_config=home)
        assert "asked with the credentials of Docker's configuration" in named.stdout
        assert [one.authorization for one in tokens.requests] == [None, None, None, basic(*LOGIN)]
        assert LOGIN[1] not in named.stdout + named.stderr


@asynccontextmanager
async def tls_registry(context: ssl.SSLContext) -> AsyncIterator[str]:
    application = web.Application()
    application.router.add_route("*", "/{path:.*}", FakeRegistry(IMAGE).answer)
    runner = web.AppRunner(application, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context).start()
        yield f"https://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


async def test_a_certificate_of_an_unknown_authority(tmp_path: Path) -> None:
    context = Authority(tmp_path).issue("registry", "127.0.0.1").server_context()
    async with tls_registry(context) as url:
        found = await findings_of(url)
    assert found["tls"].level is Level.PROBLEM
    assert "is not trusted" in found["tls"].sentence
    assert found["tls"].advice.startswith("set upstream.ca_file to the CA that signed it")


async def test_a_registry_that_does_not_speak_tls() -> None:
    async with serving(FakeRegistry(IMAGE)) as registry:
        found = await findings_of(registry.url.replace("http:", "https:"))
    assert found["tls"].level is Level.PROBLEM
    assert "use http://" in found["tls"].advice


async def test_a_web_page_is_no_registry() -> None:
    async def page(_: web.Request) -> web.StreamResponse:
        return web.Response(text="<html>Welcome</html>", content_type="text/html")

    async with served(page) as url:
        assert (await findings_of(url))["api"].level is Level.PROBLEM


@pytest.mark.parametrize(
    ("status", "words"),
    [
        (301, "redirects to https://registry.example"),
        (404, "no registry's API"),
        (403, "lets nobody in"),
        (429, "takes no more requests"),
        (503, "answers 503"),
    ],
)
async def test_an_origin_without_the_api(status: int, words: str) -> None:
    async def answer(_: web.Request) -> web.StreamResponse:
        return web.Response(status=status, headers={"Location": "https://registry.example/v2/"})

    async with served(answer) as url:
        found = await findings_of(url)
    assert found["api"].level is Level.PROBLEM
    assert words in found["api"].sentence


@pytest.mark.parametrize(
    ("body", "headers", "level"),
    [
        ("{}", {"Content-Type": "application/json"}, Level.OK),
        ("", {"Docker-Distribution-Api-Version": "registry/2.0"}, Level.OK),
        ("hello", {"Docker-Distribution-Api-Version": "registry/2.0 trusted/1.0"}, Level.OK),
        ("hello", {"Content-Type": "text/plain"}, Level.PROBLEM),
        (
            "<html>",
            {"Content-Type": "text/html", "Docker-Distribution-Api-Version": "registry/2.0"},
            Level.PROBLEM,
        ),
        ("{}", {"Docker-Distribution-Api-Version": "registry/1.0"}, Level.PROBLEM),
    ],
)
async def test_what_a_registry_says_to_a_ping(body: str, headers: dict[str, str], level: Level) -> None:
    async def answer(_: web.Request) -> web.StreamResponse:
        return web.Response(body=body.encode(), headers=headers)

    async with served(answer) as url:
        assert (await findings_of(url, None))["api"].level is level


async def test_a_registry_that_knows_neither_range_nor_head_digest_nor_keep_alive() -> None:
    async def bare(request: web.Request) -> web.StreamResponse | None:
        answer = FakeRegistry(IMAGE).content(request)
        if answer is None:
            return None
        if request.method == "HEAD":
            if "/blobs/" in request.path:
                return web.Response(status=405)
            answer.headers.popall("Docker-Content-Digest", None)
        answer.headers["Date"] = format_datetime(datetime.now(UTC) - timedelta(minutes=3), usegmt=True)
        answer.force_close()
        return answer

    async with serving(FakeRegistry(IMAGE, bare)) as registry:
        found = await findings_of(registry.url)
    warned = {name for name, one in found.items() if one.level is Level.WARNING}
    assert warned == {"head", "blob-head", "range", "keep-alive", "clock"}
    assert "lacks Docker-Content-Digest" in found["head"].sentence
    assert "180 s ahead of" in found["clock"].sentence or "181 s ahead of" in found["clock"].sentence
    assert "Range is ignored" in found["range"].sentence


async def test_a_front_that_changes_manifests() -> None:
    async def templating(request: web.Request) -> web.StreamResponse | None:
        answer = FakeRegistry(IMAGE).content(request)
        if answer is not None and "/manifests/" in request.path and isinstance(answer.body, bytes):
            answer.body = answer.body + b"\n"
        return answer

    async with serving(FakeRegistry(IMAGE, templating)) as registry:
        found = await findings_of(registry.url)
    assert found["digest"].level is Level.PROBLEM


async def test_blobs_on_an_object_storage() -> None:
    async def storage(request: web.Request) -> web.StreamResponse:
        assert "Authorization" not in request.headers
        headers = {"Content-Range": "bytes 0-0/1000"}
        return web.Response(status=206, body=b"x", headers=headers)

    async with served(storage) as elsewhere:

        async def redirecting(request: web.Request) -> web.StreamResponse | None:
            if "/blobs/" not in request.path:
                return None
            return web.Response(status=307, headers={"Location": f"{elsewhere}/bucket?signature=pl4nted"})

        async with serving(FakeRegistry(IMAGE, redirecting)) as registry:
            found = await findings_of(registry.url, blobs__allowed_networks="127.0.0.0/8")
    assert f"blobs come from {elsewhere.removeprefix('http://')}" in found["redirect"].sentence
    assert found["range"].level is Level.OK
    assert not [one for one in found.values() if "pl4nted" in one.sentence + one.advice]


async def test_a_challenge_that_no_client_knows() -> None:
    async def strange(_: web.Request) -> web.StreamResponse | None:
        return web.Response(status=401, headers={"WWW-Authenticate": "Negotiate"})

    async with serving(FakeRegistry(IMAGE, strange)) as registry:
        found = await findings_of(registry.url)
    assert found["auth"].level is Level.PROBLEM


@pytest.mark.parametrize(
    "challenge",
    [
        'Bearer realm="http://[::1/token",service="x"',
        'Bearer realm="http://h:99999999/token"',
        'Bearer realm="/token"',
        'Bearer service="x"',
    ],
)
@pytest.mark.parametrize("probe", [None, PROBE])
async def test_a_realm_that_is_no_address(challenge: str, probe: ImageProbe | None) -> None:
    async def strange(_: web.Request) -> web.StreamResponse | None:
        return web.Response(status=401, headers={"WWW-Authenticate": challenge})

    async with serving(FakeRegistry(IMAGE, strange)) as registry:
        found = await findings_of(registry.url, probe)
    assert found["auth"].level is Level.PROBLEM
    assert "doctor" not in found


@pytest.mark.parametrize(
    ("status", "body", "level"),
    [
        (200, b'{"token": "good"}', Level.OK),
        (401, b"", Level.OK),
        (200, b"<html>", Level.PROBLEM),
        (500, b"", Level.PROBLEM),
        (429, b"", Level.WARNING),
    ],
)
async def test_the_token_server_is_asked_without_an_image_too(status: int, body: bytes, level: Level) -> None:
    async def tokens(request: web.Request) -> web.StreamResponse:
        assert "Authorization" not in request.headers
        return web.Response(status=status, body=body)

    async with served(tokens) as realm:
        found = await findings_behind(realm)
    assert found["tokens"].level is level


async def test_a_token_server_that_is_not_there() -> None:
    found = await findings_behind(f"http://127.0.0.1:{free_port()}")
    assert found["tokens"].level is Level.WARNING
    assert "connection refused" in found["tokens"].sentence


async def findings_behind(realm: str) -> dict[str, Finding]:
    async def guarded(_: web.Request) -> web.StreamResponse | None:
        return web.Response(status=401, headers={"WWW-Authenticate": f'Bearer realm="{realm}/token"'})

    async with serving(FakeRegistry(IMAGE, guarded)) as registry:
        return await findings_of(registry.url, None)


@pytest.mark.parametrize("location", ["http://[::1/x", "http://h:999999/x", "javascript:1", "ftp://x/y"])
async def test_redirects_to_what_is_no_address(location: str) -> None:
    async def redirecting(request: web.Request) -> web.StreamResponse | None:
        is_blob = "/blobs/" in request.path
        return web.Response(status=307, headers={"Location": location}) if is_blob else None

    async with serving(FakeRegistry(IMAGE, redirecting)) as registry:
        found = await findings_of(registry.url)
    assert found["redirect"].level is Level.PROBLEM
    assert "doctor" not in found

    async def moved(_: web.Request) -> web.StreamResponse:
        return web.Response(status=301, headers={"Location": location})

    async with served(moved) as url:
        assert (await findings_of(url))["api"].level is Level.PROBLEM


@pytest.mark.parametrize("told", ["foo", "sha512:" + "0" * 128, "sha256:" + "0" * 64])
@pytest.mark.parametrize("method", ["GET", "HEAD"])
async def test_a_digest_that_is_not_the_manifests(told: str, method: str) -> None:
    async def lying(request: web.Request) -> web.StreamResponse | None:
        answer = FakeRegistry(IMAGE).content(request)
        if answer is not None and request.method == method and "/manifests/" in request.path:
            answer.headers["Docker-Content-Digest"] = told
        return answer

    async with serving(FakeRegistry(IMAGE, lying)) as registry:
        found = await findings_of(registry.url)
    assert found["digest" if method == "GET" else "head"].level is Level.PROBLEM


async def test_another_part_than_the_one_that_was_asked_for() -> None:
    async def elsewhere(request: web.Request) -> web.StreamResponse | None:
        if "Range" not in request.headers:
            return None
        return web.Response(status=206, body=b"xyz", headers={"Content-Range": "bytes 5-7/10"})

    async with serving(FakeRegistry(IMAGE, elsewhere)) as registry:
        found = await findings_of(registry.url)
    assert found["range"].level is Level.PROBLEM
    assert "bytes 5-7/10" in found["range"].sentence


async def test_what_no_check_has_thought_of_is_a_finding(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(_: object) -> list[Finding]:
        raise LookupError("at http://user:pl4nted@host/")

    monkeypatch.setattr("proxy.doctor.examination.check_host", broken)
    async with serving(FakeRegistry(IMAGE)) as registry:
        found = await findings_of(registry.url)
    assert found["doctor"].level is Level.PROBLEM
    assert "looking at this machine failed: LookupError" in found["doctor"].sentence
    assert "pl4nted" not in found["doctor"].sentence
    assert "range" in found


async def test_files_that_the_proxy_would_not_start_with(tmp_path: Path) -> None:
    async with serving(FakeRegistry(IMAGE)) as registry:
        found = await findings_of(registry.url, upstream__ca_file=str(tmp_path / "missing.pem"))
    assert found["settings"].level is Level.PROBLEM
    assert "missing.pem" in found["settings"].sentence


async def redis_findings(url: str, **settings: str) -> list[Finding]:
    async with serving(FakeRegistry(IMAGE)) as registry:
        given: dict[str, str | None] = {"upstream.url": registry.url, "cache.redis_url": url}
        given |= {path.replace("__", "."): value for path, value in settings.items()}
        found = await examine(load(given, {}), None)
    return [one for one in found if one.check == "redis"]


def worst(findings: list[Finding]) -> list[str]:
    return [one.sentence for one in findings if one.level in (Level.WARNING, Level.PROBLEM)]


async def test_a_redis_that_is_set_up_as_it_should_be(tmp_path: Path) -> None:
    options = ("--maxmemory", "64mb", "--maxmemory-policy", "volatile-ttl", "--appendonly", "yes")
    with Redis.start(tmp_path, *options) as server:
        found = await redis_findings(server.url)
        assert not worst(found)
        assert "a sealed record came back whole" in found[-1].sentence
        with server.client() as client:
            left = [key for key in client.scan_iter() if b"canary" not in key]
            assert len(left) == 1
            assert 0 < client.ttl(left[0]) <= 10


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ((), "no maxmemory"),
        (("--maxmemory", "64mb"), "refuses writes (maxmemory-policy noeviction)"),
        (("--maxmemory", "64mb", "--maxmemory-policy", "allkeys-lru"), "may drop what pinned digests"),
    ],
)
async def test_a_redis_that_will_be_full_some_day(tmp_path: Path, options: tuple[str, ...], words: str) -> None:
    with Redis.start(tmp_path, *options) as server:
        (sentence,) = worst(await redis_findings(server.url))
    assert words in sentence


async def test_a_redis_with_another_password(tmp_path: Path) -> None:
    with Redis.start(tmp_path, "--requirepass", "right") as server:
        url = server.url.replace("//", "//:pl4nted@")
        (finding,) = [one for one in await redis_findings(url) if one.level is Level.PROBLEM]
    assert "refuses the user or password" in finding.sentence
    assert "pl4nted" not in finding.sentence + finding.advice


async def test_a_redis_that_is_not_there_or_hangs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (off,) = worst(await redis_findings(f"redis://127.0.0.1:{free_port()}"))
    assert "cannot be" in off
    monkeypatch.setattr("proxy.doctor.redis._TIMEOUT", 0.3)
    with Redis.start(tmp_path) as server:
        server.pause()
        (hangs,) = worst(await redis_findings(server.url))
        server.resume()
    assert "does not answer within 0.3 s" in hangs


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("redis+sentinel://127.0.0.1:{port}/shared", "unknown command"),
        ("redis+cluster://127.0.0.1:{port}", "Cluster mode is not enabled"),
        ("redis+sentinel://127.0.0.1:{nothing}/shared", "No master found for 'shared'"),
        ("redis+cluster://127.0.0.1:{nothing}", "Error 111 connecting"),
    ],
)
async def test_sentinels_and_clusters_that_are_none(tmp_path: Path, url: str, words: str) -> None:
    with Redis.start(tmp_path) as server:
        (sentence,) = worst(await redis_findings(url.format(port=server.port, nothing=free_port())))
    assert words.lower() in sentence.lower()
    assert "<" not in sentence


async def test_a_redis_that_takes_no_more(tmp_path: Path) -> None:
    with Redis.start(tmp_path) as server:
        with server.client() as client:
            client.config_set("maxmemory", "1")
        assert "maxmemory" in worst(await redis_findings(server.url))[-1]


async def test_a_redis_that_is_a_replica(tmp_path: Path) -> None:
    with Redis.start(tmp_path, "--replicaof", "127.0.0.1", str(free_port())) as server:
        found = await redis_findings(server.url)
    assert "this Redis is a replica, which takes no writes" in worst(found)
