"""The registry's bearer tokens, verified without asking it ("Token Authentication Implementation").

A token is a JWT whose ``access`` claim lists repositories and actions. It is believed when one of the
configured keys signed it, and only then; its statement about its own key (``jwk``, ``x5c``, ``jku``) is never
used. Each key verifies with one algorithm, the one of its type, so a token cannot choose: no ``none``, no
HMAC with a public key for its secret (RFC 8725, sections 2.1 and 3.1).
"""

from __future__ import annotations

import base64
import hashlib
import re
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

import jwt
import orjson
from cachetools import LRUCache
from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_public_key

from proxy.auth.identity import Rights, fingerprint
from proxy.config import TokenConfig
from proxy.repository import DEFAULT_UPSTREAM, Repository
from proxy.watched import WatchedFile

MAX_TOKEN: Final = 32 * 1024
"""Characters of a token that is looked at."""
_MAX_KEYS: Final = 64
_LEAST_RSA_BITS: Final = 2048
_LIBTRUST_BYTES: Final = 30
_MOST_VERIFIED: Final = 16_384
_MOST_REPOSITORIES: Final = 1024
_PEM: Final = re.compile(rb"-----BEGIN (CERTIFICATE|PUBLIC KEY)-----(?:(?!-----).)++-----END \1-----", re.DOTALL)
_ACTIONS: Final = frozenset({"pull", "push", "delete"})

PublicKey = EllipticCurvePublicKey | RSAPublicKey | Ed25519PublicKey


class TokenError(Exception):
    """The token is not to be believed; the message says why, without a part of it."""


@dataclass(frozen=True, slots=True)
class VerificationKey:
    """A public key, the one algorithm it verifies, and the names a token may call it by."""

    public: PublicKey
    algorithm: str
    names: frozenset[str]


@dataclass(frozen=True, slots=True)
class Claims:
    """The claims of a verified token.

    Attributes:
        subject: the user.
        rights: actions by repository.
        catalog: whether the catalogue of repositories may be read.
        expires: seconds since the epoch, leeway included.
    """

    subject: str
    rights: Rights
    catalog: bool
    expires: float


class TokenVerifier:
    """Verifies tokens with the keys in a file, which is read again when it changes."""

    def __init__(self, config: TokenConfig, upstream: str = DEFAULT_UPSTREAM) -> None:
        """Read the keys.

        Args:
            config: whose tokens are believed.
            upstream: the registry that they are for.

        Raises:
            FileError: they cannot be used.
        """
        self._upstream = upstream
        assert config.keys is not None  # noqa: S101 - the caller asked whether there are any
        self._issuer = config.issuer
        self._audience = config.audience
        self._leeway = config.leeway
        self._keys = WatchedFile(config.keys, parse_keys)
        self._verified: LRUCache[bytes, Claims] = LRUCache(_MOST_VERIFIED)
        self._changes = 0

    def verify(self, token: str) -> Claims:
        """Return the claims of ``token``; an answer is remembered until the token expires or the keys change.

        Raises:
            TokenError: it is not to be believed.
        """
        if len(token) > MAX_TOKEN:
            raise TokenError(f"the token is longer than {MAX_TOKEN} characters")
        keys = self._keys.get()
        if self._keys.changes != self._changes:
            self._changes = self._keys.changes
            self._verified.clear()
        name = fingerprint((b"token", token.encode("utf-8", "surrogateescape")))
        known = self._verified.get(name)
        if known is None:
            known = self._verified[name] = self._verify(token, keys)
        if time.time() >= known.expires:
            raise TokenError("the token has expired")
        return known

    def _verify(self, token: str, keys: tuple[VerificationKey, ...]) -> Claims:
        header = _header(token)
        problem = "the token is signed by no known key"
        for key in _candidates(header, keys):
            try:
                claims: dict[str, Any] = jwt.decode(
                    token,
                    key.public,
                    algorithms=[key.algorithm],
                    audience=self._audience,
                    issuer=self._issuer,
                    leeway=self._leeway,
                    options={"require": ["exp", "nbf", "iss", "aud"]},
                )
                return _claims(claims, self._leeway, self._upstream)
            except jwt.InvalidSignatureError:
                continue
            except jwt.ExpiredSignatureError:
                problem = "the token has expired"
            except jwt.ImmatureSignatureError:
                problem = "the token is not valid yet"
            except jwt.InvalidAudienceError:
                problem = "the token is for another service"
            except jwt.InvalidIssuerError:
                problem = "the token is of another issuer"
            except (jwt.PyJWTError, ValueError, TypeError, ArithmeticError, RecursionError):
                problem = "the token is malformed"
            break
        raise TokenError(problem)


def _header(token: str) -> Mapping[str, Any]:
    head = token.partition(".")[0]
    try:
        header = orjson.loads(base64.urlsafe_b64decode(head + "=" * (-len(head) % 4)))
    except ValueError:
        header = None
    if not isinstance(header, dict):
        raise TokenError("the token is malformed")
    if "crit" in header:  # RFC 7515, section 4.1.11: a critical header that is not understood refuses the token
        raise TokenError("the token has an extension that is not known")
    return header


def _candidates(header: Mapping[str, Any], keys: tuple[VerificationKey, ...]) -> Iterator[VerificationKey]:
    """Yield the keys that may have signed: the named one, or all where none is named."""
    algorithm, name = header.get("alg"), header.get("kid")
    if name is not None and not isinstance(name, str):
        raise TokenError("the token is malformed")
    return (key for key in keys if key.algorithm == algorithm and (name is None or name in key.names))


def _claims(claims: Mapping[str, Any], leeway: float, upstream: str) -> Claims:
    rights: dict[Repository, frozenset[str]] = {}
    catalog = False
    access = claims.get("access")
    for entry in access[:_MOST_REPOSITORIES] if isinstance(access, list) else ():
        if not isinstance(entry, dict):
            continue
        kind, name, actions = entry.get("type"), entry.get("name"), entry.get("actions")
        if not isinstance(name, str) or not isinstance(actions, list):
            continue
        granted = frozenset(one for one in actions if isinstance(one, str))
        if kind == "repository":
            all_of_them = _ACTIONS if "*" in granted else granted & _ACTIONS
            repository = Repository(upstream, name)
            rights[repository] = rights.get(repository, frozenset()) | all_of_them
        elif kind == "registry" and name == "catalog":
            catalog = catalog or "*" in granted
    subject = claims.get("sub")
    return Claims(subject if isinstance(subject, str) else "", rights, catalog, float(claims["exp"]) + leeway)


def parse_keys(content: bytes) -> tuple[VerificationKey, ...]:
    """Return the keys of a JWKS document (RFC 7517), or of PEM certificates and public keys.

    A certificate is a wrapping for its key: the operator chose it, so its dates and its issuer do not count.

    Raises:
        ValueError: no key can be used.
    """
    keys = _from_jwks(content) if content.lstrip().startswith(b"{") else _from_pem(content)
    if not keys:
        raise ValueError("expected a JWKS document, or PEM certificates or public keys, with a key in it")
    if len(keys) > _MAX_KEYS:
        raise ValueError(f"has more than {_MAX_KEYS} keys")
    return keys


def _from_pem(content: bytes) -> tuple[VerificationKey, ...]:
    keys = []
    for block in _PEM.finditer(content):
        try:
            if block[1] == b"CERTIFICATE":
                public: Any = x509.load_pem_x509_certificate(block[0]).public_key()
            else:
                public = load_pem_public_key(block[0])
        except (ValueError, UnsupportedAlgorithm):
            raise ValueError("has a certificate or key that is malformed") from None
        keys.append(_key(public))
    return tuple(keys)


def _from_jwks(content: bytes) -> tuple[VerificationKey, ...]:
    try:
        listed = orjson.loads(content).get("keys")
    except ValueError:
        raise ValueError("is not JSON") from None
    if not isinstance(listed, list) or not all(isinstance(one, dict) for one in listed):
        raise ValueError("is no JWKS document: it has no list of keys")
    return tuple(_from_jwk(one) for one in listed if one.get("use", "sig") == "sig")


def _from_jwk(raw: Mapping[str, Any]) -> VerificationKey:
    if "d" in raw or "k" in raw:
        raise ValueError("has a private or secret key; verifying takes public keys alone")
    try:
        public = jwt.PyJWK.from_dict(dict(raw)).key
    except (jwt.PyJWTError, ValueError, TypeError, KeyError):
        raise ValueError("has a key that is malformed or of an unknown kind") from None
    key = _key(public)
    if raw.get("alg", key.algorithm) != key.algorithm:
        raise ValueError(f"has a key for another algorithm than {key.algorithm}, the one of its type")
    name = raw.get("kid")
    return VerificationKey(key.public, key.algorithm, key.names | ({name} if isinstance(name, str) else set()))


def _key(public: object) -> VerificationKey:
    match public:
        case EllipticCurvePublicKey() if isinstance(public.curve, SECP256R1):
            return VerificationKey(public, "ES256", _names(public))
        case RSAPublicKey() if public.key_size >= _LEAST_RSA_BITS:
            return VerificationKey(public, "RS256", _names(public))
        case Ed25519PublicKey():
            return VerificationKey(public, "EdDSA", _names(public))
        case _:
            raise ValueError("has a key that is neither EC P-256, RSA of 2048 bits or more, nor Ed25519")


def _names(public: PublicKey) -> frozenset[str]:
    """Return the ids that token servers give a key without one: libtrust's way, and RFC 7638's."""
    der = public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    text = base64.b32encode(hashlib.sha256(der).digest()[:_LIBTRUST_BYTES]).decode().rstrip("=")
    libtrust = ":".join(text[at : at + 4] for at in range(0, len(text), 4))
    return frozenset({libtrust, _thumbprint(public)})


def _thumbprint(public: PublicKey) -> str:
    match public:
        case EllipticCurvePublicKey():
            numbers = public.public_numbers()
            members = {"crv": "P-256", "kty": "EC", "x": _number(numbers.x, 32), "y": _number(numbers.y, 32)}
        case RSAPublicKey():
            rsa = public.public_numbers()
            members = {"e": _number(rsa.e), "kty": "RSA", "n": _number(rsa.n)}
        case Ed25519PublicKey():
            raw = public.public_bytes(Encoding.Raw, PublicFormat.Raw)
            members = {"crv": "Ed25519", "kty": "OKP", "x": _url_base64(raw)}
    return _url_base64(hashlib.sha256(orjson.dumps(members, option=orjson.OPT_SORT_KEYS)).digest())


def _number(number: int, length: int | None = None) -> str:
    return _url_base64(number.to_bytes(length or (number.bit_length() + 7) // 8, "big"))


def _url_base64(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).rstrip(b"=").decode()
