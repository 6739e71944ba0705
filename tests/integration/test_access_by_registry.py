"""Several registries and who is let in: rights, what each registry is shown, and the names that are signed."""

import json
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import jwt
import pytest
from aiohttp import web
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

from tests.lab.fake_registry import FakeRegistry, proxied, serving
from tests.lab.partition_requests import IMAGE, get
from tests.lab.registry_client import basic
from tests.lab.signing import signature_tag

# The password of both is s3cret.
HASH = "$2b$04$ITRFhfWYATatJ867LyLqUe0t3p2t49lIgMufyke43VG.sbjkOWT1G"
ANN, BOB = basic("ann", "s3cret"), basic("bob", "s3cret")
KEY = ec.generate_private_key(ec.SECP256R1())
PLACES = {"harbor": "/v2/team/model", "hub": "/v2/hub/team/model", "ghcr": "/v2/ghcr/team/model"}


def own(name: str) -> tuple[str, str]:
    return f"servant of {name}", f"password for {name}"


class Guarded(FakeRegistry):
    """Lets one user in, whose name and password it wants; or whoever comes with a token."""

    def __init__(self, name: str, *, takes_tokens: bool = False) -> None:
        super().__init__(IMAGE, self.guard)
        self.name = name
        self.takes_tokens = takes_tokens

    async def guard(self, request: web.Request) -> web.StreamResponse | None:
        shown = request.headers.get("Authorization", "")
        if shown == basic(*own(self.name)) or (self.takes_tokens and shown.startswith("Bearer ")):
            return None
        return web.json_response({"errors": []}, status=401, headers={"WWW-Authenticate": 'Basic realm="x"'})

    @property
    def shown(self) -> set[str]:
        return {one.headers["Authorization"] for one in self.requests if "Authorization" in one.headers}


@pytest.fixture
async def registries() -> AsyncIterator[dict[str, Guarded]]:
    made = {name: Guarded(name) for name in PLACES}
    async with serving(made["harbor"]), serving(made["hub"]), serving(made["ghcr"]):
        yield made


@pytest.fixture
async def client() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(auto_decompress=False) as session:
        yield session


def credentials(name: str) -> dict[str, str]:
    user, password = own(name)
    return {"kind": "static", "username": user, "password": password}


def further(registries: dict[str, Guarded], **more: dict[str, Any]) -> str:
    tables = [{"name": name, "url": registries[name].url, "prefix": name, **one} for name, one in more.items()]
    return json.dumps(tables)


async def test_two_users_have_other_rights_in_each_registry_after_everything_was_cached(
    registries: dict[str, Guarded], client: aiohttp.ClientSession, tmp_path: Path
) -> None:
    users = tmp_path / "users"
    users.write_text("".join(f"{name}:{HASH}\n" for name in ("ann", "bob")))
    rules = [
        {"users": ["ann"], "repositories": ["team/*"], "registries": ["harbor"]},
        {"users": ["bob"], "repositories": ["team/*"], "registries": ["hub"]},
        {"users": ["ann", "bob"], "repositories": ["open/*"]},
    ]
    settings = {f"upstream__credentials__{name}": value for name, value in credentials("harbor").items()}
    settings |= {"upstream__name": "harbor", "auth__clients__htpasswd": str(users)}
    settings["auth__clients__rules"] = json.dumps(rules)
    settings["upstreams"] = further(
        registries, **{name: {"credentials": credentials(name)} for name in ("hub", "ghcr")}
    )
    allowed = {("harbor", ANN), ("hub", BOB)}
    digests = {IMAGE.digest}
    async with proxied(registries["harbor"].url, **settings) as url:
        for name, user in allowed:
            status, _, index = await get(client, f"{url}{PLACES[name]}/manifests/v1--0.0.1.1", Authorization=user)
            assert status == 200
            digests |= {one["digest"] for one in index["manifests"]}
        for name, place in PLACES.items():
            for user in (ANN, BOB):
                references = ["v1", "v1--0.0.1.1", *sorted(digests)]
                answers = [await get(client, f"{url}{place}/manifests/{one}", Authorization=user) for one in references]
                expected = 200 if (name, user) in allowed else 403
                assert {status for status, _, _ in answers} == {expected}, (name, user)
            assert (await get(client, f"{url}{place}/manifests/v1"))[0] == 401
        assert (await get(client, f"{url}/v2/ghcr/open/model/manifests/v1", Authorization=ANN))[0] == 200
    for name, registry in registries.items():
        assert registry.shown == {basic(*own(name))}, name


async def test_a_token_for_one_registry_opens_no_other(client: aiohttp.ClientSession, tmp_path: Path) -> None:
    """Where it is verified here, the default registry is not asked; it says nothing of two others behind the proxy."""
    made = {"harbor": Guarded("harbor", takes_tokens=True), "hub": Guarded("hub"), "ghcr": Guarded("ghcr")}
    keys, users = tmp_path / "keys.pem", tmp_path / "users"
    keys.write_bytes(KEY.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    users.write_text(f"ann:{HASH}\n")
    now = int(time.time())
    access = [{"type": "repository", "name": "team/model", "actions": ["pull"]}]
    claims = {"iss": "i", "aud": "a", "sub": "ann", "exp": now + 600, "nbf": now - 60, "access": access}
    token = f"Bearer {jwt.encode(claims, KEY, 'ES256')}"
    settings = {"upstream__name": "harbor", "auth__token__keys": str(keys)}
    settings |= {"auth__token__issuer": "i", "auth__token__audience": "a"}
    async with serving(made["harbor"]), serving(made["hub"]), serving(made["ghcr"]):
        door = {"credentials": credentials("hub"), "auth": {"clients": {"htpasswd": str(users)}}}
        settings["upstreams"] = further(made, hub=door, ghcr={})
        async with proxied(made["harbor"].url, **settings) as url:
            for name, expected in (("harbor", 200), ("hub", 401), ("ghcr", 401)):
                for reference in ("v1--0.0.1.1", "v1", IMAGE.digest):
                    target = f"{url}{PLACES[name]}/manifests/{reference}"
                    assert (await get(client, target, Authorization=token))[0] == expected, (name, reference)
            opened = f"{url}{PLACES['hub']}/manifests/v1--0.0.1.1"
            assert (await get(client, opened, Authorization=ANN))[0] == 200
            assert (await get(client, opened, Authorization=token))[0] == 401
    assert made["hub"].shown == {basic(*own("hub"))}
    assert made["ghcr"].shown == {token}  # in pass-through, what the client shows is for the registry that it named


async def test_a_signature_for_one_registry_is_none_for_another(client: aiohttp.ClientSession, tmp_path: Path) -> None:
    """The image is the same, so the names in the signatures are all that tells them apart."""
    key = tmp_path / "signing.pem"
    key.write_bytes(KEY.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    made = {name: FakeRegistry(IMAGE) for name in PLACES}
    async with serving(made["harbor"]), serving(made["hub"]), serving(made["ghcr"]):
        tables = [
            {"name": "hub", "url": made["hub"].url, "prefix": "hub", "namespaces": ["docker.io"]},
            {"name": "ghcr", "url": made["ghcr"].url, "prefix": "ghcr"},
        ]
        settings = {"upstream__name": "harbor", "upstreams": json.dumps(tables), "signing__key": str(key)}
        settings["public_url"] = "https://models.example.org"
        named = {}
        async with proxied(made["harbor"].url, **settings) as url:
            for name, place in PLACES.items():
                answer = await get(client, f"{url}{place}/manifests/v1--0.0.1.1", "HEAD")
                tag = signature_tag(answer[1]["Docker-Content-Digest"])
                status, _, manifest = await get(client, f"{url}{place}/manifests/{tag}")
                assert status == 200, name
                payload = await get(client, f"{url}{place}/blobs/{manifest['layers'][0]['digest']}")
                named[name] = json.loads(payload[2])["critical"]["identity"]["docker-reference"]
    assert named == {
        "harbor": "models.example.org/team/model",
        "hub": "docker.io/team/model",
        "ghcr": f"{made['ghcr'].url.removeprefix('http://')}/team/model",
    }
