"""An image of the Docker Engine on this machine: the archive of ``docker save``, requested at its socket."""

from __future__ import annotations

import http.client
import json
import os
import socket
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from http import HTTPStatus
from pathlib import Path
from typing import BinaryIO, Final, cast
from urllib.parse import quote

from twodfs.concurrency import scope
from twodfs.errors import BuildError
from twodfs.images.inflation import Inflation
from twodfs.images.source import CHUNK

SOCKET: Final = "/var/run/docker.sock"
SECONDS: Final = 900.0
"""Without a byte: before the first one, the classic image store packs every layer."""

_UNIX: Final = "unix://"
_MAX_ANSWER: Final = 4 * 1024 * 1024


@contextmanager
def saved_by_engine(name: str, scratch: Path, inflation: Inflation) -> Iterator[Path]:
    """Yield an archive of the engine's image ``name``, which goes with the block.

    Args:
        name: a valid reference, as the engine knows the image.
        scratch: a directory for the archive.
        inflation: how much bigger the archive may be than the engine says that the image is.

    Raises:
        BuildError: there is no engine, or it has no such image, or the archive becomes too big.
    """
    with tempfile.NamedTemporaryFile(dir=scratch, prefix="docker-daemon-", suffix=".tar") as file:
        _save(name, socket_path(os.environ), cast("BinaryIO", file), inflation)
        file.flush()
        yield Path(file.name)


def socket_path(environment: Mapping[str, str]) -> str:
    """Return the socket of the engine that ``DOCKER_HOST`` names, or its usual one.

    Raises:
        BuildError: it names an engine that has none.
    """
    host = environment.get("DOCKER_HOST") or f"{_UNIX}{SOCKET}"
    if not host.startswith(f"{_UNIX}/"):
        raise BuildError(
            f"DOCKER_HOST is {host[:140]!r}; docker-daemon: takes an engine on this machine, as {_UNIX}{SOCKET}"
        )
    return host.removeprefix(_UNIX)


def _save(name: str, path: str, file: BinaryIO, inflation: Inflation) -> None:
    image = f"/images/{quote(name, safe='/:@')}"
    try:
        with closing(_Connection(path)) as connection:
            told = json.loads(_asked(connection, f"{image}/json", name).read(_MAX_ANSWER))
        size = told.get("Size") if isinstance(told, dict) else None
        most = left = inflation.limit(size if isinstance(size, int) else 0)
        with closing(_Connection(path)) as connection:
            answer = _asked(connection, f"{image}/get", name)
            while piece := answer.read(min(CHUNK, left + 1)):
                scope().check()
                left -= len(piece)
                if left < 0:
                    raise BuildError(f"{name} has more than {most} bytes; --max-inflated allows more")
                file.write(piece)
    except (http.client.HTTPException, ValueError) as error:
        raise BuildError(f"the Docker Engine at {path} answers what it should not: {error!r}") from None


def _asked(connection: _Connection, target: str, name: str) -> http.client.HTTPResponse:
    try:
        connection.request("GET", target)
        answer = connection.getresponse()
    except OSError as error:
        raise BuildError(f"no Docker Engine answers at {connection.path}: {error.strerror or error}") from None
    if answer.status != HTTPStatus.OK:
        content = json.loads(answer.read(_MAX_ANSWER))
        message = content.get("message") if isinstance(content, dict) else None
        raise BuildError(f"the Docker Engine does not give {name}: {message or answer.reason}")
    return answer


class _Connection(http.client.HTTPConnection):
    def __init__(self, path: str) -> None:
        super().__init__("localhost", timeout=SECONDS)
        self.path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self.path)
