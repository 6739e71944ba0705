"""Our keys and openssl's understand each other."""

import hashlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.lab import command
from tests.lab.peers import require
from tests.lab.programs import environment, program
from tests.lab.signing import KeyPair
from twodfs.errors import KeyFormatError
from twodfs.signing.ecdsa import PrivateKey, PublicKey

PAYLOAD = b'{"critical":{}}'
# RFC 6979, appendix A.2.5: the key, and the signature over "sample" with SHA-256.
RFC_KEY = """-----BEGIN PRIVATE KEY-----
MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgya+p2EW6dRZrXCFX
Z7HWk05Qw9s26JsSe4piKxIPZyGhRANCAARg/tS6JVqdMclh63TGNW1owEm4kjth
+mzmaWIuYPKftnkD/hAIuLyZpBrp6VYovGTy8bIMLX6fUXejwpTURiKZ
-----END PRIVATE KEY-----
"""


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> KeyPair:
    require("openssl")
    return KeyPair.generate(tmp_path_factory.mktemp("keys"), "one")


def private(keys: KeyPair) -> PrivateKey:
    return PrivateKey.parse(keys.private.read_bytes())


def sign(key: PrivateKey, payload: bytes) -> bytes:
    return key.sign_digest(hashlib.sha256(payload).digest())


def test_openssl_verifies_what_we_sign(keys: KeyPair) -> None:
    signature = sign(private(keys), PAYLOAD)
    assert keys.verifies(PAYLOAD, signature)
    assert not keys.verifies(PAYLOAD + b" ", signature)


def test_we_verify_what_openssl_signs(keys: KeyPair) -> None:
    public = PublicKey.parse(keys.public.read_bytes())
    signature = keys.sign(PAYLOAD)
    assert public.verifies(PAYLOAD, signature)
    assert not public.verifies(PAYLOAD + b" ", signature)
    assert not public.verifies(PAYLOAD, signature[:-1] + bytes([signature[-1] ^ 1]))


def test_another_key_does_not_verify(keys: KeyPair, tmp_path: Path) -> None:
    other = PublicKey.parse(KeyPair.generate(tmp_path, "other").public.read_bytes())
    assert not other.verifies(PAYLOAD, keys.sign(PAYLOAD))
    assert other.fingerprint != private(keys).public_key.fingerprint


def test_a_signature_is_the_same_every_time(keys: KeyPair) -> None:
    assert sign(private(keys), PAYLOAD) == sign(private(keys), PAYLOAD)


def test_the_halves_of_a_key_have_one_fingerprint(keys: KeyPair) -> None:
    public = PublicKey.parse(keys.public.read_bytes())
    assert public.fingerprint == private(keys).public_key.fingerprint


@given(st.binary(max_size=200))
def test_what_is_no_signature_is_refused_and_never_fails(noise: bytes) -> None:
    key = PrivateKey.parse(RFC_KEY.encode()).public_key
    assert not key.verifies(PAYLOAD, noise)


def test_the_test_vector_of_the_rfc() -> None:
    signature = sign(PrivateKey.parse(RFC_KEY.encode()), b"sample").hex()
    assert "efd48b2aacb6a8fd1140dd9cd45e81d69d2c877b56aaf991c34d0ea84eaf3716" in signature
    assert "f7cb1c942d657c41d436c7a1b6e29f65f3e900dbb9aff4064dc4ab2f843acda8" in signature


def test_the_older_form_of_a_private_key_is_read(keys: KeyPair, tmp_path: Path) -> None:
    traditional = tmp_path / "traditional.pem"
    argv = ("ec", "-in", str(keys.private), "-out", str(traditional))
    command.run((program("openssl"), *argv), environment())
    assert b"BEGIN EC PRIVATE KEY" in traditional.read_bytes()
    assert sign(PrivateKey.parse(traditional.read_bytes()), PAYLOAD) == sign(private(keys), PAYLOAD)


def test_what_is_no_key_is_refused_with_a_way_out(keys: KeyPair, tmp_path: Path) -> None:
    p384 = KeyPair.generate(tmp_path, "p384", "P-384")
    locked = tmp_path / "locked.pem"
    argv = ("pkey", "-in", str(keys.private), "-aes256", "-passout", "pass:secret", "-out", str(locked))
    command.run((program("openssl"), *argv), environment())
    for pem in (b"", b"\xff\x00", keys.public.read_bytes(), locked.read_bytes()):
        with pytest.raises(KeyFormatError, match="without a password; 'openssl genpkey"):
            PrivateKey.parse(pem)
    for pem in (b"", b"\xff\x00", keys.private.read_bytes()):
        with pytest.raises(KeyFormatError, match="'openssl pkey -pubout'"):
            PublicKey.parse(pem)
    with pytest.raises(KeyFormatError, match="P-256"):
        PublicKey.parse(p384.public.read_bytes())
    with pytest.raises(KeyFormatError, match="P-256"):
        PrivateKey.parse(p384.private.read_bytes())
