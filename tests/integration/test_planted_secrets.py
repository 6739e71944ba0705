"""Credentials are used and never kept: planted secrets are looked for wherever the proxy writes."""

import base64
import os
import subprocess
import sys
from pathlib import Path

import bcrypt
import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from tests.lab.caller import ACCEPT, Caller, Partition
from tests.lab.collector import collector
from tests.lab.images import PushedImage, push_field_image
from tests.lab.peers import require
from tests.lab.proxy import Proxy
from tests.lab.redis import Redis
from tests.lab.registry import Registry
from tests.lab.registry_client import Answer, RegistryClient, basic
from tests.lab.token_server import ISSUER, LOGIN, SERVICE, token_server

PASSWORD = "planted-password-7Xq2"
WRONG = "planted-wrong-password-9Ld4"
TOKEN = "planted-bearer-3Kv8"
REFRESH = "planted-refresh-5Zt1"
COOKIE = "planted-cookie-8Wn6"
SERVICE_PASSWORD = "planted-service-password-2Rb9"
SERVICE_TOKEN = "planted-service-token-4Hc7"
PLANTED = [PASSWORD, WRONG, TOKEN, REFRESH, COOKIE, SERVICE_PASSWORD, SERVICE_TOKEN]
TAG = "v1--0.0.1.1"
SOURCE = Path(__file__).parents[2]
CELLS = {(row, col): {f"m/{row}-{col}": b"%d.%d" % (row, col)} for row in range(3) for col in range(3)}


class Written:
    """All that the proxy wrote, and what of it is a secret."""

    def __init__(self, *secrets: str) -> None:
        self.secrets = [secret.encode() for secret in (*PLANTED, *secrets)]
        for user in ("ann", "servant"):
            pairs = (f"{user}:{secret}".encode() for secret in (*PLANTED, *secrets))
            self.secrets += [base64.b64encode(pair).rstrip(b"=")[:-1] for pair in pairs]
        self.places: dict[str, bytes] = {}

    def add(self, place: str, content: bytes | str) -> None:
        text = content.encode() if isinstance(content, str) else content
        self.places[place] = self.places.get(place, b"") + text + b"\n"

    def answer(self, place: str, answer: Answer) -> Answer:
        """Keep the headers of an answer, and its body where it is an error."""
        self.add(f"headers: {place}", str(answer.headers))
        if answer.status >= 400:
            self.add(f"error body: {place}", answer.body)
        return answer

    def proxy(self, proxy: Proxy) -> None:
        self.add("log", proxy.log.read_bytes())
        with RegistryClient(proxy.admin_url) as client:
            for path in ("/healthz", "/readyz", "/metrics"):
                self.add(path, client.request("GET", path).body)

    def redis(self, redis: Redis) -> None:
        with redis.client() as store:
            for key in store.scan_iter("*"):
                self.add("redis", key)
                self.add("redis", store.get(key))

    def found(self) -> list[tuple[str, bytes]]:
        return [(place, one) for place, text in self.places.items() for one in self.secrets if one in text]


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, PushedImage]:
    require("docker-registry")
    directory = tmp_path_factory.mktemp("private")
    with Registry.start(directory) as registry:
        image = push_field_image(registry.url, "team/model", "v1", cells=CELLS)
    return directory, image


def test_the_search_finds_what_is_there() -> None:
    written = Written()
    written.add("log", f"path=/v2/ token={TOKEN}")
    written.add("redis", basic("ann", PASSWORD))
    assert [place for place, _ in written.found()] == ["log", "redis"]


def offered(good: str) -> list[dict[str, str]]:
    """Return headers with every kind of credentials, the right ones first."""
    forged = jwt.encode({"sub": TOKEN}, ec.generate_private_key(ec.SECP256R1()), "ES256")
    return [
        {"Authorization": good},
        {"Authorization": basic("ann", WRONG)},
        {"Authorization": f"Bearer {TOKEN}"},
        {"Authorization": f"Bearer {forged}"},
        {"Authorization": f"Odd {TOKEN}", "Cookie": f"sid={COOKIE}"},
        {"Authorization": f"Basic {TOKEN}"},
        {"Cookie": f"sid={COOKIE}"},
    ]


def converse(written: Written, proxy: Proxy, partition: Partition, headers: list[dict[str, str]]) -> None:
    with RegistryClient(proxy.url) as client:
        for given in headers:
            everything = {"Accept": ACCEPT, **given}
            for target in (
                *partition.targets,
                "/v2/",
                "/v2/_catalog",
                "/v2/team/model/manifests/v1--9.9.9.9",
            ):
                written.answer(target, client.request("GET", target, headers=everything))
                written.answer(target, client.request("HEAD", target, headers=everything))
            written.answer("upload", client.request("POST", "/v2/team/x/blobs/uploads/", headers=everything))


def test_pass_through_keeps_no_secret(tmp_path: Path, filled: tuple[Path, PushedImage], redis_server: Redis) -> None:
    directory, image = filled
    with token_server(tmp_path) as tokens, collector() as collected:
        host = tokens.url.removeprefix("http://").partition("/")[0]
        config = (
            f'[cache]\nredis_url = "{redis_server.url}"\n[log]\nlevel = "debug"\n[auth]\nrealm = "proxy"\n'
            f'realm_hosts = ["{host}"]\n[auth.token]\nkeys = "{tokens.certificate}"\nissuer = "{ISSUER}"\n'
            f'audience = "{SERVICE}"\n[tracing]\nendpoint = "{collected.endpoint}"\n'
            f'[metrics]\nrepositories = ["**", "*", "*/*"]\n'
        )
        with (
            Registry.start(directory, extra_config=tokens.registry_config()) as registry,
            Proxy.start(tmp_path, registry.url, config=config) as proxy,
        ):
            ann = Caller(proxy.url, LOGIN)
            partition = Partition.read(ann, image, TAG)
            own = ann.token(f"{proxy.url}/twodfs/token", SERVICE, "repository:team/model:pull")
            written = Written(LOGIN[1], own)
            converse(written, proxy, partition, offered(f"Bearer {own}"))
            form = {"Content-Type": "application/x-www-form-urlencoded"}
            endpoint = f"/twodfs/token?service={SERVICE}&account=ann&password={PASSWORD}"
            body = f"grant_type=refresh_token&refresh_token={REFRESH}&password={PASSWORD}".encode()
            with RegistryClient(proxy.url) as client:
                for given in offered(basic("ann", PASSWORD)):
                    written.answer("token", client.request("GET", endpoint, headers=given))
                    assert (
                        written.answer(
                            "token", client.request("POST", "/twodfs/token", headers=form | given, body=body)
                        ).status
                        == 401
                    )
            registry.stop()
            converse(written, proxy, partition, offered(f"Bearer {own}"))
            written.proxy(proxy)
            written.redis(redis_server)
            assert proxy.terminate() == 0, "what was not sent yet is sent at the end"
        written.add("traces", b"\n".join(collected.bodies))
        assert collected.spans
    assert len(written.places["log"]) > 10_000
    assert b"recipe:" in written.places["redis"]
    assert written.found() == []


@pytest.mark.parametrize("kind", ["password", "token"])
def test_the_door_keeps_no_secret(
    tmp_path: Path, filled: tuple[Path, PushedImage], redis_server: Redis, kind: str
) -> None:
    directory, image = filled
    hashed = bcrypt.hashpw(PASSWORD.encode(), bcrypt.gensalt(4)).decode()
    clients = tmp_path / "clients"
    clients.write_text(f"ann:{hashed}\n")
    config = (
        f'[cache]\nredis_url = "{redis_server.url}"\n[log]\nlevel = "debug"\n[auth.clients]\n'
        f'htpasswd = "{clients}"\n[upstream.credentials]\nkind = "static"\n'
    )
    variable = "TWODFS_PROXY_UPSTREAM_CREDENTIALS_"
    if kind == "password":
        environment = {f"{variable}USERNAME": "servant", f"{variable}PASSWORD": SERVICE_PASSWORD}
    else:
        environment = {f"{variable}TOKEN": SERVICE_TOKEN}
    file = tmp_path / "config.toml"
    written = Written(hashed)
    with (
        Registry.start(directory, htpasswd={"servant": SERVICE_PASSWORD}) as registry,
        Proxy.start(tmp_path, registry.url, config=config, environment=environment) as proxy,
    ):
        if kind == "password":
            partition = Partition.read(Caller(proxy.url, ("ann", PASSWORD)), image, TAG)
        else:  # the registry does not take it
            partition = Partition((f"/v2/{image.repository}/manifests/{TAG}",))
        converse(written, proxy, partition, offered(basic("ann", PASSWORD)))
        registry.stop()
        converse(written, proxy, partition, offered(basic("ann", PASSWORD)))
        written.proxy(proxy)
        written.redis(redis_server)
    for more, status in ((environment, 0), ({f"{variable}PASSWORD": SERVICE_PASSWORD}, 2)):
        shown = subprocess.run(
            [
                *(sys.executable, "-m", "proxy", "--upstream", registry.url, "--check-config"),
                "--config",
                file,
            ],
            env={**os.environ, **more},
            cwd=SOURCE,
            capture_output=True,
            timeout=60,
            check=False,
        )
        assert shown.returncode == status, shown.stderr
        written.add("--check-config", shown.stdout + shown.stderr)
    assert written.found() == []
