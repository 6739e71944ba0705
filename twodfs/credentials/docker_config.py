"""Docker's ``config.json``, as far as it has the user's credentials.

``DockerConfig`` is pure; ``read_config`` alone reads the file (docker/cli, "Credential stores", "Credential helpers")::

    {"auths": {"ghcr.io": {"auth": base64("USER:PASSWORD")}},      ; or username + password, identitytoken
     "credHelpers": {"gcr.io": "gcloud"},                           ; runs docker-credential-gcloud
     "credsStore": "secretservice"}                                 ; for every other registry
"""

from __future__ import annotations

import base64
import binascii
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from twodfs.credentials.credentials import Credentials
from twodfs.errors import AuthError, FormatError, within
from twodfs.files import read_file
from twodfs.oci.documents import Json, expect, parse_object
from twodfs.oci.reference import DOCKER_HUB

MAX_DOCKER_CONFIG_BYTES: Final = 4 * 1024 * 1024

_HUB_KEY = "https://index.docker.io/v1/"
_HUB_HOSTS = frozenset({DOCKER_HUB, "index.docker.io", "registry-1.docker.io"})
_KEY = re.compile(r"(?:https?://)?([^/]+)(?:/v[12])?/?")
_HELPER = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


@dataclass(frozen=True, slots=True)
class HelperLookup:
    """A look-up still to be made: run ``program get`` with ``server`` on its standard input."""

    program: str
    server: str


@dataclass(frozen=True, slots=True)
class DockerConfig:
    """The parts of Docker's ``config.json`` that hold the user's credentials, by registry host."""

    auths: Mapping[str, Credentials] = field(default_factory=dict)
    helpers: Mapping[str, str] = field(default_factory=dict)
    store: str = ""

    @classmethod
    def parse(cls, body: bytes) -> DockerConfig:
        """Return the configuration in ``body``.

        Raises:
            FormatError: malformed, with the path; never with a secret.
        """
        return cls.of(parse_object(body))

    @classmethod
    def of(cls, raw: Json) -> DockerConfig:
        """Return the configuration in a JSON object; raises like ``parse``."""
        auths = {}
        for key, entry in _object(raw, "auths").items():
            with within(f"auths[{key}]"):
                credentials = _credentials(expect(entry, dict, ""))
            if credentials:
                auths[registry_host(key)] = credentials
        helpers = {
            registry_host(key): _helper(name, f"credHelpers[{key}]")
            for key, name in _object(raw, "credHelpers").items()
        }
        store = raw.get("credsStore")
        return cls(auths, helpers, _helper(store, "credsStore") if store else "")

    def keeper(self, registry: str) -> str | None:
        """Return the helper program that is to keep the credentials for ``registry``; None for the file."""
        name = self.helpers.get(registry_host(registry), self.store)
        return f"docker-credential-{name}" if name else None

    def lookup(self, registry: str) -> Credentials | HelperLookup | None:
        """Return the credentials for ``registry``, or the look-up that finds them; None when it has neither.

        A helper named for the registry goes first, then an entry in the file, then the common store.
        """
        host = registry_host(registry)
        server = server_key(registry)
        if host in self.helpers:
            return HelperLookup(f"docker-credential-{self.helpers[host]}", server)
        if host in self.auths:
            return self.auths[host]
        return HelperLookup(f"docker-credential-{self.store}", server) if self.store else None


def config_path() -> Path:
    """Return where Docker's configuration lies: in ``$DOCKER_CONFIG``, else in ``~/.docker``.

    Raises:
        AuthError: neither is known, as for a user without an entry on the machine.
    """
    directory = os.environ.get("DOCKER_CONFIG")
    if directory:
        return Path(directory) / "config.json"
    try:
        return Path.home() / ".docker" / "config.json"
    except RuntimeError:
        raise AuthError("there is no home directory to keep logins in; DOCKER_CONFIG names one") from None


def read_config() -> Json | None:
    """Return Docker's configuration, the parts needed here checked; None without one.

    A user without a home directory has none.

    Raises:
        AuthError: it cannot be read or is malformed; the message says which.
    """
    try:
        path = config_path()
    except AuthError:
        return None
    try:
        content = parse_object(read_file(path, limit=MAX_DOCKER_CONFIG_BYTES))
        DockerConfig.of(content)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise AuthError(f"cannot read {path}: {error.strerror}") from None
    except FormatError as error:
        raise AuthError(f"{path}: {error}") from None
    return content


def _object(raw: Json, key: str) -> Json:
    value = raw.get(key)
    return {} if value is None else expect(value, dict, key)


def server_key(registry: str) -> str:
    """Return the key of ``registry`` in Docker's file and in helpers."""
    return _HUB_KEY if registry_host(registry) == DOCKER_HUB else registry


def registry_host(key: str) -> str:
    """Return the host that a key means; Docker wrote ``https://index.docker.io/v1/`` and still does."""
    match = _KEY.fullmatch(key)
    host = match[1].lower() if match else key
    return DOCKER_HUB if host in _HUB_HOSTS else host


def _helper(name: object, path: str) -> str:
    text = expect(name, str, path)
    if not _HELPER.fullmatch(text):
        raise FormatError(f"{text[:140]!r} cannot be part of a program's name", path)
    return text


def _credentials(entry: Json) -> Credentials | None:
    username, password = _text(entry, "username"), _text(entry, "password")
    if entry.get("auth"):
        username, password = _decode(expect(entry["auth"], str, "auth"))
    found = Credentials(username, password, _text(entry, "identitytoken"), _text(entry, "registrytoken"))
    return found if found.is_login or found.identity_token or found.registry_token else None


def _text(entry: Json, key: str) -> str:
    value = entry.get(key)
    return "" if value is None else expect(value, str, key)


def _decode(auth: str) -> tuple[str, str]:
    try:
        username, colon, password = base64.b64decode(auth, validate=True).decode().partition(":")
    except (binascii.Error, UnicodeDecodeError):
        username, colon, password = "", "", ""
    if not colon:
        raise FormatError("expected base64 of user:password", "auth")
    return username, password.rstrip("\0")
