"""Keep credentials where Docker keeps them, and forget them: in a helper where one is set up, or the file.

The rest of the file stays as it is. It is replaced in one step, readable by its owner alone.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
from pathlib import Path
from typing import Final

import orjson

from twodfs.credentials.credentials import Credentials
from twodfs.credentials.docker_config import DockerConfig, config_path, read_config, registry_host, server_key
from twodfs.credentials.docker_helper import run_helper
from twodfs.errors import AuthError
from twodfs.oci.documents import Json

_PRIVATE: Final = 0o700


def store_credentials(registry: str, credentials: Credentials) -> str:
    """Keep a username and password for ``registry``, and return where: a file, or a helper's name. Blocks.

    Raises:
        AuthError: the configuration is malformed or cannot be written, or the helper fails.
    """
    content, config = _load()
    key = server_key(registry)
    program = config.keeper(registry)
    entry: Json = {}
    if program is None:
        entry = {"auth": credentials.pair}
    else:
        secret = {"ServerURL": key, "Username": credentials.username, "Secret": credentials.password}
        run_helper(program, "store", orjson.dumps(secret))
    # Docker, too, leaves an empty entry for credentials in a helper: it shows that there is a login.
    _save({**content, "auths": {**_others(content, registry), key: entry}})
    return program or str(config_path())


def erase_credentials(registry: str) -> bool:
    """Forget the credentials for ``registry``, and return whether there were any. Blocks.

    Raises:
        AuthError: the configuration is malformed or cannot be written, or the helper fails.
    """
    content, config = _load()
    program = config.keeper(registry)
    was_kept = program is not None and _erase_in_helper(program, server_key(registry).encode())
    others = _others(content, registry)
    was_listed = len(others) != len(content.get("auths") or {})
    if was_listed:
        _save({**content, "auths": others})
    return was_kept or was_listed


def _erase_in_helper(program: str, key: bytes) -> bool:
    """Let a helper forget ``key``, and return whether it knew it: many erase unknown keys without an error."""
    is_known = run_helper(program, "get", key, may_lack=True) is not None
    run_helper(program, "erase", key, may_lack=True)
    return is_known


def _load() -> tuple[Json, DockerConfig]:
    content = read_config() or {}
    return content, DockerConfig.of(content)


def _others(content: Json, registry: str) -> Json:
    """Return the entries of all other registries, however they are spelled."""
    auths = content.get("auths") or {}
    return {key: entry for key, entry in auths.items() if registry_host(key) != registry_host(registry)}


def _save(content: Json) -> None:
    # A link, as dotfiles often are, stays one.
    target = config_path().resolve()
    try:
        target.parent.mkdir(mode=_PRIVATE, parents=True, exist_ok=True)
        _replace(target, orjson.dumps(content, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE))
    except OSError as error:
        raise AuthError(f"cannot write {target}: {error.strerror}") from None


def _replace(target: Path, content: bytes) -> None:
    # mkstemp's files are readable by their owner alone.
    descriptor, name = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")
    try:
        with open(descriptor, "wb") as file:  # noqa: PTH123 - it is a descriptor, not a path
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        Path(name).replace(target)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            Path(name).unlink()
        raise
