"""Where the peers' programs are."""

import os
import shutil

_DEBIAN = ("/usr/sbin", "/usr/bin", "/sbin", "/bin")


class MissingProgramError(Exception):
    """A peer is not installed on this machine."""

    def __init__(self, name: str) -> None:
        super().__init__(f"{name} is not installed: run tests/lab/install-peers.sh as root")


def search_path() -> str:
    """Debian's own folders come first: another client in /usr/local/bin may call itself `docker`."""
    return os.pathsep.join((*_DEBIAN, os.environ.get("PATH", os.defpath)))


def find(name: str) -> str | None:
    return shutil.which(name, path=search_path())


def program(name: str) -> str:
    """Return the path of an installed program; raises MissingProgramError."""
    path = find(name)
    if path is None:
        raise MissingProgramError(name)
    return path


def environment(**additions: str) -> dict[str, str]:
    """Return the environment for a peer: daemons look their own tools up in PATH."""
    return {**os.environ, "PATH": search_path(), **additions}
