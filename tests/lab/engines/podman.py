"""Podman with storage and configuration of its own; it has no daemon."""

import contextlib
import os
import signal
import time
from pathlib import Path

from tests.lab import command
from tests.lab.engines.engine import Lifetime, add_login, forget_logins, pull
from tests.lab.mounts import holds_overlays, runtime_directory, unmount_below
from tests.lab.programs import environment, program
from tests.lab.rootfs import read_tree

# default_ulimits: Podman's own need CAP_SYS_RESOURCE. runtime: crun refuses hosts with both cgroup versions.
# lock_type: the default is one segment of shared memory for the whole machine.
_CONTAINERS_CONF = """\
[containers]
default_ulimits = []
netns = "none"
[engine]
cgroup_manager = "cgroupfs"
events_logger = "none"
lock_type = "file"
runtime = "runc"
tmp_dir = "{runtime}/tmp"
[network]
network_config_dir = "{directory}/networks"
"""

_STORAGE_CONF = """\
[storage]
driver = "{driver}"
graphroot = "{directory}/root"
runroot = "{runtime}/run"
"""


_PATIENCE = 10.0


class Podman(Lifetime):
    """`with Podman.start(directory) as podman: ...`."""

    name = "podman"

    def __init__(self, directory: Path) -> None:
        super().__init__(directory)
        self._podman = program("podman")
        self._logins = directory / "auth.json"
        forget_logins(self._logins)
        runtime = self._cleanup.enter_context(runtime_directory())
        settings = _write_settings(directory, runtime)
        self._environment = environment(REGISTRY_AUTH_FILE=str(self._logins), **settings)
        self._cleanup.callback(unmount_below, directory)
        self._cleanup.callback(_end_helpers, runtime)
        self._cleanup.callback(self._run, "rm", "--all", "--force", "--time", "0")

    def login(self, address: str, user: str, password: str) -> None:
        add_login(self._logins, address, user, password)

    def pull(self, reference: str, platform: str | None = None) -> None:
        choice = ("--platform", platform) if platform else ()
        argv = (self._podman, "pull", "--tls-verify=false", *choice, reference)
        pull(self.name, reference, argv, self._environment)

    def load(self, archive: Path) -> None:
        """Read an archive with `podman load`."""
        self._run("load", "--input", str(archive))

    def import_root(self, archive: Path, reference: str) -> None:
        """Make an image of one layer out of the tar of a root file system."""
        self._run("import", "--quiet", str(archive), reference)

    @property
    def environment(self) -> dict[str, str]:
        """The variables under which `podman` is this one."""
        return dict(self._environment)

    def files(self, reference: str) -> dict[str, bytes]:
        """Mount the image as Podman unpacked it and read it."""
        place = Path(self._run("image", "mount", reference).strip())
        try:
            return read_tree(place)
        finally:
            self._run("image", "unmount", reference)

    def run(self, reference: str, *argv: str) -> str:
        return self._run("run", "--rm", "--pull", "never", reference, *argv)

    def remove(self, reference: str) -> None:
        self._run("rmi", reference)

    def _run(self, *arguments: str) -> str:
        return command.run((self._podman, *arguments), self._environment)


def _end_helpers(runtime: Path) -> None:
    """End monitors that an interrupted `podman run` left, and their clean-ups, which mount the store."""
    deadline = time.monotonic() + _PATIENCE
    while helpers := _helpers(runtime):
        if time.monotonic() > deadline:
            raise TimeoutError(f"processes {helpers} of {runtime} do not end")
        for pid in helpers:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.01)


def _helpers(runtime: Path) -> list[int]:
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):  # it ended while we looked
            argv = (process / "cmdline").read_bytes()
            name = Path(os.fsdecode(argv.split(b"\0")[0])).name
            if name in ("conmon", "podman", "runc") and os.fsencode(runtime) in argv:
                found.append(int(process.name))
    return found


def _write_settings(directory: Path, runtime: Path) -> dict[str, str]:
    """Return the files written, by the variable that points Podman at each."""
    driver = "overlay" if holds_overlays(directory) else "vfs"
    texts = {
        "CONTAINERS_CONF": _CONTAINERS_CONF.format(directory=directory, runtime=runtime),
        "CONTAINERS_STORAGE_CONF": _STORAGE_CONF.format(directory=directory, runtime=runtime, driver=driver),
        "CONTAINERS_REGISTRIES_CONF": "",
    }
    for variable, text in texts.items():
        (directory / variable).write_text(text)
    return {variable: str(directory / variable) for variable in texts}
