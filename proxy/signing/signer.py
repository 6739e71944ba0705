"""The signing key: the private part never leaves this module.

A key management service takes the place of the file by having the same two members as ``Signer``.
"""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from twodfs.errors import KeyFormatError
from twodfs.files import read_file
from twodfs.signing.ecdsa import PrivateKey, PublicKey


class KeyFileError(Exception):
    """A key file cannot be used; the message names the setting and says what to change."""


class Signer(Protocol):
    """Makes ECDSA signatures on P-256.

    A scheme that is not deterministic (RFC 6979) needs a shared store: replicas then agree on the signature that
    was stored first, mostly.
    """

    @property
    def public_key(self) -> PublicKey:
        """The key that verifies the signatures of ``sign``."""

    async def sign(self, payload_digest: bytes) -> bytes:
        """Return the ASN.1 signature over the payload whose SHA-256 is ``payload_digest``."""


class FileSigner:
    """Signs with a key that was read from a file. It takes a fraction of a millisecond, so no thread."""

    def __init__(self, key: PrivateKey) -> None:
        self._key = key

    @classmethod
    def load(cls, file: Path) -> FileSigner:
        """Return the signer with the private key in ``file``.

        Raises:
            KeyFileError: there is none that can be used.
        """
        try:
            return cls(PrivateKey.parse(_read(file, "signing.key")))
        except KeyFormatError as error:
            raise KeyFileError(f"signing.key {file}: {error}") from None

    @property
    def public_key(self) -> PublicKey:
        """The key that verifies the signatures of ``sign``."""
        return self._key.public_key

    async def sign(self, payload_digest: bytes) -> bytes:
        """Return the ASN.1 signature over the payload whose SHA-256 is ``payload_digest``."""
        return self._key.sign_digest(payload_digest)


def load_public_key(file: Path) -> PublicKey:
    """Return the public key in ``file``.

    Raises:
        KeyFileError: there is none that can be used.
    """
    try:
        return PublicKey.parse(_read(file, "signing.source_keys"))
    except KeyFormatError as error:
        raise KeyFileError(f"signing.source_keys {file}: {error}") from None


def _read(file: Path, setting: str) -> bytes:
    try:
        return read_file(file)
    except OSError as error:
        raise KeyFileError(f"{setting} {file}: cannot be read: {error.strerror}") from None
