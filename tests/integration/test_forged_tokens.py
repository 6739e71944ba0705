"""Tokens that somebody made up, at the door and in front of a guarded registry."""

import base64
import hashlib
import hmac
import json
import time
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import jwt
import pytest
from aiohttp import web
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from tests.lab.fake_registry import FakeRegistry, proxied, serving
from tests.lab.partition_requests import IMAGE, TAG, get

KEY = ec.generate_private_key(ec.SECP256R1())
PUBLIC = KEY.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
ACCESS = [{"type": "repository", "name": "team/model", "actions": ["pull"]}]


def claims(**changed: object) -> dict[str, object]:
    now = int(time.time())
    return {
        "iss": "i",
        "aud": "a",
        "sub": "ann",
        "exp": now + 600,
        "nbf": now - 60,
        "access": ACCESS,
    } | changed


def unsigned(header: dict[str, str]) -> bytes:
    parts = (json.dumps(part).encode() for part in (header, claims()))
    return b".".join(base64.urlsafe_b64encode(part).rstrip(b"=") for part in parts)


def forgeries() -> dict[str, str]:
    confused = unsigned({"alg": "HS256", "typ": "JWT"})
    mac = hmac.new(PUBLIC, confused, hashlib.sha256).digest()
    other = [ACCESS[0] | {"name": "team/other"}]
    good = jwt.encode(claims(), KEY, "ES256")
    return {
        "another key": jwt.encode(claims(), ec.generate_private_key(ec.SECP256R1()), "ES256"),
        "alg none": (unsigned({"alg": "none"}) + b".").decode(),
        "HS256 with the public key": (confused + b"." + base64.urlsafe_b64encode(mac).rstrip(b"=")).decode(),
        "expired": jwt.encode(claims(exp=int(time.time()) - 60), KEY, "ES256"),
        "not yet": jwt.encode(claims(nbf=int(time.time()) + 600), KEY, "ES256"),
        "another audience": jwt.encode(claims(aud="b"), KEY, "ES256"),
        "another issuer": jwt.encode(claims(iss="j"), KEY, "ES256"),
        "another repository": jwt.encode(claims(access=other), KEY, "ES256"),
        "another action": jwt.encode(claims(access=[ACCESS[0] | {"actions": ["push"]}]), KEY, "ES256"),
        "one byte": good[:-10] + ("A" if good[-10] != "A" else "B") + good[-9:],
    }


@pytest.fixture
async def registry() -> AsyncIterator[FakeRegistry]:
    async with serving(FakeRegistry(IMAGE)) as started:
        yield started


@pytest.mark.parametrize("controls_access", [True, False], ids=["door", "pass-through"])
async def test_no_forged_token_opens_anything_that_a_good_one_filled_the_caches_with(
    registry: FakeRegistry, tmp_path: Path, *, controls_access: bool
) -> None:
    file = tmp_path / "keys.pem"
    file.write_bytes(PUBLIC)
    good = f"Bearer {jwt.encode(claims(), KEY, 'ES256')}"

    async def guarded(request: web.Request) -> web.StreamResponse | None:
        shown = request.headers.get("Authorization")
        is_known = shown == (f"Basic {base64.b64encode(b'servant:pass').decode()}" if controls_access else good)
        challenge = {"WWW-Authenticate": 'Basic realm="x"'}
        return None if is_known else web.json_response({"errors": []}, status=401, headers=challenge)

    registry.interpose = guarded
    settings = {
        "auth__token__keys": str(file),
        "auth__token__issuer": "i",
        "auth__token__audience": "a",
        "auth__token__leeway": "5",
        "auth__ttl": "600",
        "cache__tag_ttl": "600",
    }
    if controls_access:
        settings |= {
            "upstream__credentials__kind": "static",
            "upstream__credentials__username": "servant",
            "upstream__credentials__password": "pass",
            "auth__token__realm": "https://auth.example.org/token",
        }
    async with aiohttp.ClientSession() as client, proxied(registry.url, **settings) as url:
        ann = {"Authorization": good}
        _, headers, index = await get(client, url + TAG, **ann)
        child = f"/v2/team/model/manifests/{index['manifests'][0]['digest']}"
        _, _, manifest = await get(client, url + child, **ann)
        config = f"/v2/team/model/blobs/{manifest['config']['digest']}"
        pinned = f"/v2/team/model/manifests/{headers['Docker-Content-Digest']}"
        for target in (TAG, pinned, child, config):
            for method in ("GET", "HEAD"):
                assert (await get(client, url + target, method, **ann))[0] == 200
                for name, token in forgeries().items():
                    answered = await get(client, url + target, method, Authorization=f"Bearer {token}")
                    assert answered[0] == 401, name
