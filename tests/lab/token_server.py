"""A token server that a stock registry trusts ("Token Authentication Specification"), over a real socket."""

import base64
import json
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any
from urllib.parse import parse_qs, urlsplit

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.x509.oid import NameOID

from tests.lab.certificates import Pair

SERVICE = "lab-registry"
ISSUER = "lab-issuer"
LOGIN = ("ann", "s3cret")
OTHER_LOGIN = ("bob", "hunter2-of-bob")
IDENTITY_TOKEN = "identity-of-ann"


@dataclass(frozen=True, slots=True)
class TokenRequest:
    method: str
    parameters: Mapping[str, list[str]]
    authorization: str | None


@dataclass(slots=True)
class TokenServer:
    """Anyone may pull from `public/...` and `library/...`; Ann may do anything; Bob what he likes in `bob/...`."""

    url: str
    certificate: Path
    lifetime: int = 300
    """Seconds."""
    requests: list[TokenRequest] = field(default_factory=list)

    def registry_config(self) -> dict[str, Any]:
        """Return what makes a registry of the lab send its clients here."""
        token = {
            "realm": self.url,
            "service": SERVICE,
            "issuer": ISSUER,
            "rootcertbundle": str(self.certificate),
        }
        return {"auth": {"token": token}}


@contextmanager
def token_server(directory: Path, *, origin: str = "", port: int = 0, tls: Pair | None = None) -> Iterator[TokenServer]:
    """Serve tokens on loopback, at an origin that others have for it; its certificate is `issuer.pem` there."""
    key = ec.generate_private_key(ec.SECP256R1())
    certificate = _self_signed(key)
    path = directory / "issuer.pem"
    path.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    with ThreadingHTTPServer(("127.0.0.1", port), BaseHTTPRequestHandler) as http:
        if tls is not None:
            http.socket = tls.server_context().wrap_socket(http.socket, server_side=True)
        server = TokenServer(f"{origin or f'http://127.0.0.1:{http.server_port}'}/token", path)
        http.RequestHandlerClass = _handler(server, key, certificate)
        thread = Thread(target=http.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield server
        finally:
            http.shutdown()
            thread.join()


def _handler(
    server: TokenServer, key: ec.EllipticCurvePrivateKey, certificate: x509.Certificate
) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked = self._record(urlsplit(self.path).query)
            users = {None: None, _basic(*LOGIN): LOGIN[0], _basic(*OTHER_LOGIN): OTHER_LOGIN[0]}
            if asked.authorization not in users:
                self._answer(401, {"details": "who are you?"})
                return
            # Docker asks for several scopes in one parameter.
            scopes = " ".join(asked.parameters.get("scope", [])).split()
            self._grant("token", scopes, users[asked.authorization])

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"])).decode()
            asked = self._record(body)
            if asked.parameters.get("refresh_token") != [IDENTITY_TOKEN]:
                self._answer(401, {"details": "who are you?"})
                return
            self._grant("access_token", asked.parameters["scope"][0].split(), LOGIN[0])

        def log_message(self, *_: object) -> None: ...

        def _record(self, query: str) -> TokenRequest:
            asked = TokenRequest(self.command, parse_qs(query), self.headers["Authorization"])
            server.requests.append(asked)
            return asked

        def _grant(self, name: str, scopes: list[str], user: str | None) -> None:
            access = [one for scope in scopes if (one := _access(scope, user))]
            token = _jwt(access, key, certificate, user or "", server.lifetime)
            self._answer(200, {name: token, "expires_in": server.lifetime})

        def _answer(self, status: int, content: Mapping[str, object]) -> None:
            body = json.dumps(content).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

    return Handler


def _access(scope: str, user: str | None) -> dict[str, object] | None:
    kind, name, actions = scope.split(":")
    is_free = user == LOGIN[0] or (user == OTHER_LOGIN[0] and name.startswith("bob/"))
    allowed = actions.split(",") if is_free else ["pull"] * name.startswith(("public/", "library/"))
    return {"type": kind, "name": name, "actions": allowed} if allowed else None


def _jwt(
    access: list[Any],
    key: ec.EllipticCurvePrivateKey,
    certificate: x509.Certificate,
    user: str,
    lifetime: int,
) -> str:
    der = certificate.public_bytes(serialization.Encoding.DER)
    header = {"typ": "JWT", "alg": "ES256", "x5c": [base64.b64encode(der).decode()]}
    now = int(time.time())
    claims = {
        "iss": ISSUER,
        "sub": user,
        "aud": SERVICE,
        "exp": now + lifetime,
        "nbf": now - 60,
        "iat": now,
        "jti": "lab",
        "access": access,
    }
    signed = ".".join(_url_base64(json.dumps(part).encode()) for part in (header, claims))
    r, s = decode_dss_signature(key.sign(signed.encode(), ec.ECDSA(hashes.SHA256())))
    return f"{signed}.{_url_base64(r.to_bytes(32, 'big') + s.to_bytes(32, 'big'))}"


def _self_signed(key: ec.EllipticCurvePrivateKey) -> x509.Certificate:
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, ISSUER)])
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(minutes=5))
        .not_valid_after(now + timedelta(days=1))
        .sign(key, hashes.SHA256())
    )


def _basic(username: str, password: str) -> str:
    return "Basic " + base64.b64encode(f"{username}:{password}".encode()).decode()


def _url_base64(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).rstrip(b"=").decode()
