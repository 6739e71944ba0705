import base64
import hashlib
import hmac
import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import jwt
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import NameOID

from proxy import watched
from proxy.auth.tokens import MAX_TOKEN, Claims, TokenError, TokenVerifier, parse_keys
from proxy.config import TokenConfig
from proxy.repository import DEFAULT_UPSTREAM, Repository
from proxy.watched import FileError

repository = partial(Repository, DEFAULT_UPSTREAM)
ISSUER, AUDIENCE = "the issuer", "registry.example.org"
PULL = [{"type": "repository", "name": "team/model", "actions": ["pull"]}]
Private = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey | ed25519.Ed25519PrivateKey
KEYS: dict[str, Private] = {
    "ES256": ec.generate_private_key(ec.SECP256R1()),
    "RS256": rsa.generate_private_key(65537, 2048),
    "EdDSA": ed25519.Ed25519PrivateKey.generate(),
}
STRANGER = ec.generate_private_key(ec.SECP256R1())


def pem(private: Private) -> bytes:
    return private.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


def jwk(private: Private, algorithm: str, **more: object) -> dict[str, Any]:
    made = jwt.get_algorithm_by_name(algorithm).to_jwk(private.public_key(), as_dict=True)
    return {key: value for key, value in made.items() if key != "key_ops"} | more


def certificate(private: Private) -> bytes:
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "any")])
    now = datetime.now(UTC)
    builder = x509.CertificateBuilder(name, name, private.public_key(), x509.random_serial_number())
    algorithm = None if isinstance(private, ed25519.Ed25519PrivateKey) else hashes.SHA256()
    dated = builder.not_valid_before(now - timedelta(1)).not_valid_after(now + timedelta(1))
    return dated.sign(private, algorithm).public_bytes(Encoding.PEM)


def claims(**changed: object) -> dict[str, object]:
    now = int(time.time())
    usual = {
        "iss": ISSUER,
        "aud": AUDIENCE,
        "sub": "ann",
        "exp": now + 300,
        "nbf": now - 5,
        "iat": now,
        "jti": "1",
        "access": PULL,
    }
    return {key: value for key, value in (usual | changed).items() if value is not None}


def token(algorithm: str = "ES256", headers: dict[str, Any] | None = None, **changed: object) -> str:
    # PyJWT's own encoder refuses to write some of what a registry's must not believe.
    return jwt.PyJWS().encode(json.dumps(claims(**changed)).encode(), KEYS[algorithm], algorithm, headers)


def encoded(part: object) -> str:
    return base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=").decode()


def signed_by_hmac(secret: bytes, headers: Mapping[str, object]) -> str:
    """Forge a token whose HMAC's secret is a public key."""
    signed = f"{encoded(headers)}.{encoded(claims())}"
    mac = hmac.new(secret, signed.encode(), hashlib.sha256).digest()
    return f"{signed}.{base64.urlsafe_b64encode(mac).rstrip(b'=').decode()}"


@dataclass
class Bench:
    file: Path
    verifier: TokenVerifier

    def verify(self, text: str) -> Claims:
        return self.verifier.verify(text)

    def refusal(self, text: str) -> str:
        with pytest.raises(TokenError) as refused:
            self.verify(text)
        return str(refused.value)


def bench(directory: Path, keys: bytes, leeway: float = 30) -> Bench:
    file = directory / "keys"
    file.write_bytes(keys)
    return Bench(file, TokenVerifier(TokenConfig(keys=file, issuer=ISSUER, audience=AUDIENCE, leeway=leeway)))


@pytest.fixture
def all_keys(tmp_path: Path) -> Bench:
    return bench(tmp_path, b"".join(map(pem, KEYS.values())))


@pytest.mark.parametrize("algorithm", KEYS)
@pytest.mark.parametrize("form", ["public key", "certificate", "jwks"])
def test_a_token_of_a_known_key_is_believed(tmp_path: Path, algorithm: str, form: str) -> None:
    private = KEYS[algorithm]
    forms = {
        "public key": pem(private),
        "certificate": certificate(private),
        "jwks": json.dumps({"keys": [jwk(private, algorithm, kid="k1", alg=algorithm, use="sig")]}).encode(),
    }
    verifier = bench(tmp_path, forms[form])
    headers = {"kid": "k1"} if form == "jwks" else None
    for _ in range(2):
        found = verifier.verify(token(algorithm, headers))
        assert found.subject == "ann"
        assert found.rights == {repository("team/model"): frozenset({"pull"})}


def test_rights_are_what_the_access_claim_says_and_nothing_else(all_keys: Bench) -> None:
    access = [
        *PULL,
        {"type": "repository", "name": "team/model", "actions": ["push", "fly"]},
        {"type": "repository", "name": "own", "actions": ["*"]},
        {"type": "repository(plugin)", "name": "plugin", "actions": ["pull"]},
        {"type": "registry", "name": "catalog", "actions": ["*"]},
        {"type": "repository", "name": "none", "actions": []},
        {"type": "repository", "name": ["odd"], "actions": ["pull"]},
        {"type": "repository", "name": "odd", "actions": "pull"},
        {"type": "repository", "name": "odder", "actions": [["pull"]]},
        "odd",
    ]
    found = all_keys.verify(token(access=access))
    assert found.catalog
    assert {name: actions for name, actions in found.rights.items() if actions} == {
        repository("team/model"): {"pull", "push"},
        repository("own"): {"pull", "push", "delete"},
    }
    nothings: tuple[object, ...] = (None, {}, "repository:team/model:pull", [])
    for nothing in nothings:
        assert not all_keys.verify(token(access=nothing)).rights


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"exp": int(time.time()) - 31}, "has expired"),
        ({"nbf": int(time.time()) + 86_400}, "not valid yet"),
        ({"aud": "another.example.org"}, "for another service"),
        ({"aud": ["another.example.org"]}, "for another service"),
        ({"iss": "another issuer"}, "of another issuer"),
        ({"iss": [ISSUER]}, "of another issuer"),
        ({"exp": None}, "malformed"),
        ({"nbf": None}, "malformed"),
        ({"iss": None}, "malformed"),
        ({"aud": None}, "malformed"),
        ({"exp": "soon"}, "malformed"),
        ({"exp": 1e400}, "malformed"),
    ],
)
def test_a_token_that_is_not_for_here_and_now_is_refused(all_keys: Bench, changed: dict[str, Any], said: str) -> None:
    assert said in all_keys.refusal(token(**changed))


def test_clocks_may_differ_by_the_leeway(tmp_path: Path, all_keys: Bench) -> None:
    late = token(exp=int(time.time()) - 10)
    assert all_keys.verify(late).subject == "ann"
    assert bench(tmp_path, pem(KEYS["ES256"]), leeway=0).refusal(late) == "the token has expired"


def test_a_token_that_was_believed_expires(all_keys: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    text = token()
    expires = all_keys.verify(text).expires
    monkeypatch.setattr(time, "time", lambda: expires)
    assert all_keys.refusal(text) == "the token has expired"


@pytest.mark.parametrize("name", ["none", "None", "HS256", "HS512", "ES384", "PS256", "", None, 5])
def test_the_algorithm_is_the_keys_and_not_the_tokens(all_keys: Bench, name: object) -> None:
    good = token().split(".")
    forged = ".".join((encoded({"typ": "JWT", "alg": name}), *good[1:]))
    assert all_keys.refusal(forged) == "the token is signed by no known key"
    assert all_keys.refusal(forged.rpartition(".")[0] + ".") == "the token is signed by no known key"


@pytest.mark.parametrize("algorithm", KEYS)
def test_a_public_key_is_no_secret_of_an_hmac(all_keys: Bench, algorithm: str) -> None:
    public = KEYS[algorithm].public_key()
    der = public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    for secret in (pem(KEYS[algorithm]), pem(KEYS[algorithm]).strip(), der):
        for claimed in ("HS256", algorithm):
            forged = signed_by_hmac(secret, {"typ": "JWT", "alg": claimed})
            assert all_keys.refusal(forged) in (
                "the token is signed by no known key",
                "the token is malformed",
            )


def test_a_token_cannot_bring_its_own_key(all_keys: Bench) -> None:
    own = base64.b64encode(x509.load_pem_x509_certificate(certificate(STRANGER)).public_bytes(Encoding.DER))
    for headers in (
        {"x5c": [own.decode()]},
        {"jwk": jwk(STRANGER, "ES256")},
        {"jku": "https://evil.example.org/jwks"},
        {},
    ):
        forged = jwt.encode(claims(), STRANGER, "ES256", headers)
        assert all_keys.refusal(forged) == "the token is signed by no known key"


def test_one_changed_byte_ends_it(all_keys: Bench) -> None:
    head, body, signature = token().split(".")
    wider = json.loads(base64.urlsafe_b64decode(body + "=="))
    wider["access"][0]["name"] = "secret/model"
    assert all_keys.refusal(f"{head}.{encoded(wider)}.{signature}") == "the token is signed by no known key"
    flipped = ("B" if signature[0] == "A" else "A") + signature[1:]
    assert all_keys.refusal(f"{head}.{body}.{flipped}") == "the token is signed by no known key"


def test_keys_are_known_by_name_also_libtrusts_and_by_thumbprint(tmp_path: Path) -> None:
    private = KEYS["ES256"]
    der = private.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    plain = base64.b32encode(hashlib.sha256(der).digest()[:30]).decode()
    libtrust = ":".join(plain[at : at + 4] for at in range(0, 48, 4))
    made = jwk(private, "ES256")
    members = json.dumps({name: made[name] for name in ("crv", "kty", "x", "y")}, separators=(",", ":"))
    thumbprint = base64.urlsafe_b64encode(hashlib.sha256(members.encode()).digest()).rstrip(b"=").decode()
    keys = bench(tmp_path, pem(private))
    for name in (libtrust, thumbprint):
        assert keys.verify(token(headers={"kid": name})).subject == "ann"
    assert keys.refusal(token(headers={"kid": "unknown"})) == "the token is signed by no known key"


@pytest.mark.parametrize(
    "text",
    [
        "",
        ".",
        "..",
        "a.b.c",
        "é.é.é",
        "\udcff.a.b",
        "." * 1000,
        encoded([]) + ".e30.",
        base64.urlsafe_b64encode(b"[" * 9000).decode() + ".e30.AA",
        base64.urlsafe_b64encode(b'{"alg":"ES256","x":' + b"[" * 1020 + b"]" * 1020 + b"}").decode() + ".e30.AA",
        encoded({"alg": "ES256", "kid": ["a"]}) + ".e30.AA",
        encoded({"alg": "ES256", "crit": ["b64"], "b64": False}) + ".e30.AA",
        "a" * (MAX_TOKEN + 1),
    ],
)
def test_garbage_is_refused_in_a_sentence(all_keys: Bench, text: str) -> None:
    assert all_keys.refusal(text).startswith("the token ")


def test_keys_are_read_again_and_tokens_of_the_old_are_refused(
    all_keys: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watched, "_LOOK_EVERY", 0.0)
    text = token()
    assert all_keys.verify(text).subject == "ann"
    all_keys.file.write_bytes(b"rubbish")
    assert all_keys.verify(text).subject == "ann"
    all_keys.file.write_bytes(pem(STRANGER))
    assert all_keys.refusal(text) == "the token is signed by no known key"
    assert all_keys.verify(jwt.encode(claims(), STRANGER, "ES256")).subject == "ann"


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "expected a JWKS document"),
        (b"nothing", "expected a JWKS document"),
        (b"{", "is not JSON"),
        (b'{"keys": 5}', "has no list of keys"),
        (b'{"keys": []}', "expected a JWKS document"),
        (b'{"keys": [{"kty": "oct", "k": "c2VjcmV0"}]}', "has a private or secret key"),
        (b'{"keys": [{"kty": "EC", "crv": "P-256", "x": "AA", "y": "AA"}]}', "malformed"),
        (b'{"keys": [{"kty": "odd"}]}', "malformed or of an unknown kind"),
        (json.dumps({"keys": [jwk(KEYS["RS256"], "RS256", alg="RS512")]}).encode(), "another algorithm"),
        (b"-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n", "malformed"),
        (pem(ec.generate_private_key(ec.SECP384R1())), "neither EC P-256"),
        (pem(rsa.generate_private_key(65537, 1024)), "neither EC P-256"),
        (pem(STRANGER) * 65, "more than 64 keys"),
    ],
)
def test_keys_that_cannot_be_used_are_refused(content: bytes, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        parse_keys(content)


def test_a_key_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileError, match=r"cannot read .*missing: No such file"):
        TokenVerifier(TokenConfig(keys=tmp_path / "missing", issuer="i", audience="a"))
