"""A stock registry: Debian's docker-registry (CNCF Distribution) over plain HTTP."""

import ctypes
import ctypes.util
import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from tests.lab import command
from tests.lab.process import Launch, Server, free_port, listens
from tests.lab.programs import environment, program

_ACCESS_LINE = re.compile(r'"(?P<method>[A-Z]+) (?P<target>\S+) HTTP/[\d.]+" (?P<status>\d{3}) (?P<size>\d+) ')
_BCRYPT_SALT = b"$2b$04$labregistrylabregistru"


@dataclass(frozen=True, slots=True)
class Request:
    """A line of the registry's access log."""

    method: str
    target: str
    status: int
    size: int
    """Bytes of the body that were sent."""


class Registry(Server):
    """`with Registry.start(directory) as registry: ...`; blobs survive `restart()`."""

    def __init__(self, launch: Launch, address: str, config: Path) -> None:
        super().__init__(launch)
        self.address = address
        self.url = f"http://{self.address}"
        self.config = config

    @classmethod
    def start(
        cls,
        directory: Path,
        *,
        port: int | None = None,
        delete: bool = True,
        htpasswd: Mapping[str, str] | None = None,
        extra_config: Mapping[str, Any] | None = None,
        host: str = "127.0.0.1",
        within: Sequence[str] = (),
        ready: Callable[[], bool] | None = None,
    ) -> Self:
        """Start a registry with its storage below the directory.

        `htpasswd` (password by user) turns Basic authentication on. `extra_config` is merged over the
        configuration, in the structure of the registry's own config.yml. `within` is the command that
        runs it elsewhere, such as in a network namespace, where it is to listen on another `host`; `ready` tells
        whether it does, where that cannot be reached from here.
        """
        port = port or free_port()
        settings: dict[str, Any] = {
            "version": "0.1",
            "log": {"level": "info"},
            "storage": {
                "filesystem": {"rootdirectory": str(directory / "storage")},
                "delete": {"enabled": delete},
            },
            "http": {"addr": f"{host}:{port}"},
        }
        if htpasswd:
            passwords = directory / "htpasswd"
            passwords.write_text("".join(f"{user}:{_bcrypt(word)}\n" for user, word in htpasswd.items()))
            settings["auth"] = {"htpasswd": {"realm": "lab", "path": str(passwords)}}
        config = directory / "config.yml"
        config.write_text(json.dumps(_merged(settings, extra_config or {})))  # JSON is YAML
        launch = Launch(
            argv=(*within, program("docker-registry"), "serve", str(config)),
            log=directory / "registry.log",
            ready=ready or listens((host, port)),
            environment=environment(),
            directory=directory,
        )
        registry = cls(launch, f"{host}:{port}", config)
        registry.launch()
        return registry

    def requests(self, *, since: int = 0) -> list[Request]:
        """Return what the registry was asked so far, in the order of its access log.

        `since` is the size that the log had at the time from which on they count.
        """
        with self.log.open("rb") as log:
            log.seek(since)
            written = log.read().decode(errors="replace")
        lines = _ACCESS_LINE.finditer(written)
        return [Request(line["method"], line["target"], int(line["status"]), int(line["size"])) for line in lines]

    def collect_garbage(self, *, delete_untagged: bool = False) -> str:
        """Delete every blob that no manifest names, as an operator would; returns the command's output."""
        untagged = ("--delete-untagged",) if delete_untagged else ()
        argv = (program("docker-registry"), "garbage-collect", *untagged, str(self.config))
        return command.run(argv, environment())


def _merged(under: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(under)
    for key, value in over.items():
        below = merged.get(key)
        if isinstance(below, dict) and isinstance(value, Mapping):
            merged[key] = _merged(below, value)
        else:
            merged[key] = value
    return merged


def _bcrypt(password: str) -> str:
    """Hash as `htpasswd -B` does: the registry takes nothing else, and Debian's libcrypt has it."""
    crypt = ctypes.CDLL(ctypes.util.find_library("crypt") or "libcrypt.so.1").crypt
    crypt.restype = ctypes.c_char_p
    hashed: bytes | None = crypt(password.encode(), _BCRYPT_SALT)
    if hashed is None or not hashed.startswith(b"$2b$"):
        raise OSError("libcrypt does not know bcrypt")
    return hashed.decode()
