"""What all engines have in common."""

import base64
import json
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self

from tests.lab import command


class PullFailed(Exception):  # noqa: N818 - what happened, in the words of the field
    """An engine could not pull; carries what the engine itself said."""

    def __init__(self, engine: str, reference: str, output: str) -> None:
        super().__init__(f"{engine} could not pull {reference}:\n{output}")
        self.output = output


class Engine(Protocol):
    """An engine that pulls and unpacks."""

    @property
    def name(self) -> str: ...

    def login(self, address: str, user: str, password: str) -> None:
        """Use these credentials for the registry at HOST:PORT from now on."""

    def pull(self, reference: str, platform: str | None = None) -> None:
        """Pull HOST:PORT/REPOSITORY:TAG or @DIGEST; raises PullFailed."""

    def files(self, reference: str) -> dict[str, bytes]:
        """Return every regular file of the pulled image: content by path without a leading slash."""
        ...

    def remove(self, reference: str) -> None:
        """Forget the image, and the layers that no other image has."""

    def close(self) -> None: ...


class RunningEngine(Engine, Protocol):
    """An engine that also runs what it pulled."""

    def run(self, reference: str, *argv: str) -> str:
        """Run a command in a new container without network; returns its standard output."""
        ...


class Lifetime:
    """The start and the end that all engines share; what they have to undo is in `_cleanup`."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._cleanup = ExitStack()

    @classmethod
    def start(cls, directory: Path) -> Self:
        """Start an engine that keeps its files below the directory."""
        engine = cls(directory)
        try:
            engine._open()
        except BaseException:
            engine.close()
            raise
        return engine

    def _open(self) -> None:
        """Start what the engine needs."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        self._cleanup.close()


def pull(engine: str, reference: str, argv: Sequence[str], environment: Mapping[str, str]) -> None:
    try:
        command.run(argv, environment)
    except command.CommandError as error:
        raise PullFailed(engine, reference, error.output) from error


def forget_logins(file: Path) -> None:
    """Write the file that Docker, Podman and Skopeo read credentials from, with none in it."""
    file.write_text('{"auths": {}}')


def add_login(file: Path, address: str, user: str, password: str) -> None:
    content = json.loads(file.read_text())
    content["auths"][address] = {"auth": base64.b64encode(f"{user}:{password}".encode()).decode()}
    file.write_text(json.dumps(content))
