"""A server process: started with its log in a file, waited for, and stopped whatever happens."""

import fcntl
import functools
import os
import random
import shutil
import signal
import socket
import subprocess
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

_POLL = 0.01
_GRACE = 10.0
_TAIL_LINES = 40


class StartError(Exception):
    """A server did not come up; the message ends with the tail of its log."""


def free_port() -> int:
    """Return a loopback port that nothing uses.

    It lies below the kernel's ephemeral range, so no outgoing connection can take it before the server binds
    it, nor between a server's end and its restart. Nor does another test run of this machine take it: each
    port that is given out is locked for a while, as a byte of a file.
    """
    for _ in range(1000):
        port = random.randint(12_000, 32_000)
        if port in _given or not _lock(port):
            continue
        _given.append(port)
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        return port
    raise StartError("no free port between 12000 and 32000")


_given: deque[int] = deque(maxlen=500)
_ports_file = Path(f"/tmp/lab-ports-{os.geteuid()}")  # whatever TMPDIR says: it is one for all


def _lock(port: int) -> bool:
    if len(_given) == _given.maxlen:
        fcntl.lockf(_ports(), fcntl.LOCK_UN, 1, _given[0])
    try:
        fcntl.lockf(_ports(), fcntl.LOCK_EX | fcntl.LOCK_NB, 1, port)
    except OSError:
        return False
    return True


@functools.cache
def _ports() -> int:
    """Open the file of locks; it stays open, since to close it would end them all."""
    return os.open(_ports_file, os.O_RDWR | os.O_CREAT, 0o600)


Place = int | Path | tuple[str, int]
"""A loopback port, a unix socket, or a port of another address."""


def listens(where: Place) -> Callable[[], bool]:
    """Return a check: does anything accept connections there?"""

    def check() -> bool:
        try:
            _connect(where).close()
        except OSError:
            return False
        return True

    return check


def answers_http(where: Place, path: str) -> Callable[[], bool]:
    """Return a check: does `GET path` give 200 there?"""

    def check() -> bool:
        try:
            with _connect(where) as connection:
                connection.sendall(f"GET {path} HTTP/1.0\r\nHost: localhost\r\n\r\n".encode())
                return connection.recv(64).split(b" ")[1:2] == [b"200"]
        except OSError:
            return False

    return check


def _connect(where: Place) -> socket.socket:
    if not isinstance(where, Path):
        host, port = ("127.0.0.1", where) if isinstance(where, int) else where
        return socket.create_connection((host.strip("[]"), port), timeout=1)
    connection = socket.socket(socket.AF_UNIX)
    try:
        connection.settimeout(1)
        connection.connect(str(where))
    except BaseException:
        connection.close()
        raise
    return connection


@dataclass(frozen=True, slots=True, kw_only=True)
class Launch:
    """How a server is started, the first time and every time after."""

    argv: tuple[str, ...]
    log: Path
    ready: Callable[[], bool]
    environment: Mapping[str, str]
    directory: Path
    patience: float = 60.0
    orphaned: signal.Signals = signal.SIGTERM
    """What the server gets when the test run is killed outright."""


class Server:
    """One server process, in a process group of its own."""

    def __init__(self, launch: Launch) -> None:
        self._launch = launch
        self._process: subprocess.Popen[bytes] | None = None
        self._status = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def log(self) -> Path:
        return self._launch.log

    @property
    def pid(self) -> int:
        if self._process is None:
            raise RuntimeError(f"{self._launch.argv[0]} is not running")
        return self._process.pid

    def is_running(self) -> bool:
        return self._process is not None and not _has_exited(self._process)

    def launch(self) -> None:
        """Start the process and wait until it is ready; raises StartError."""
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [*_dying_with_us(self._launch.orphaned), *self._launch.argv],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=dict(self._launch.environment),
                cwd=self._launch.directory,
                start_new_session=True,
            )
        try:
            self._wait_until_ready(self._process)
        except BaseException:
            self.kill()
            raise

    def stop(self, grace: float = _GRACE) -> int:
        """Ask the process to end, make it after `grace` seconds; returns its exit status, -N for signal N."""
        return self._end(signal.SIGTERM, grace)

    def kill(self) -> int:
        """End the process without asking; returns its exit status."""
        return self._end(signal.SIGKILL, _GRACE)

    def restart(self) -> None:
        """Start the process again, on the same port and files; stops it first where it still runs."""
        self.stop()
        self.launch()

    def pause(self) -> None:
        """Make the process hang: the kernel still accepts its connections, nothing answers them."""
        os.killpg(self.pid, signal.SIGSTOP)

    def resume(self) -> None:
        os.killpg(self.pid, signal.SIGCONT)

    def _wait_until_ready(self, process: subprocess.Popen[bytes]) -> None:
        deadline = time.monotonic() + self._launch.patience
        while not self._launch.ready():
            if _has_exited(process):
                raise self._start_error("ended before it was ready")
            if time.monotonic() > deadline:
                raise self._start_error(f"was not ready after {self._launch.patience:g} s")
            time.sleep(_POLL)
        if _has_exited(process):
            raise self._start_error("ended, and something else answers in its place")

    def _start_error(self, what: str) -> StartError:
        lines = self.log.read_text(errors="replace").splitlines()[-_TAIL_LINES:]
        return StartError("\n".join((f"{' '.join(self._launch.argv)}: {what}; {self.log} ends:", *lines)))

    def _end(self, how: signal.Signals, grace: float) -> int:
        process = self._process
        if process is None:
            return self._status
        os.kill(process.pid, how)
        os.kill(process.pid, signal.SIGCONT)  # a paused process gets no other signal but SIGKILL
        deadline = time.monotonic() + grace
        while not _has_exited(process) and time.monotonic() < deadline:
            time.sleep(_POLL)
        os.killpg(process.pid, signal.SIGKILL)  # the stragglers, and the workers of a server that died early
        self._status = process.wait()
        self._process = None
        return self._status


def _has_exited(process: subprocess.Popen[bytes]) -> bool:
    """Look without reaping: until it is reaped, its id cannot become another process's."""
    return os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None


def _dying_with_us(how: signal.Signals) -> tuple[str, ...]:
    """Have the kernel end the server when we cannot any more.

    The kernel watches the thread that forked, not the process; a worker thread may end long before.
    """
    setpriv = shutil.which("setpriv")
    if setpriv is None or threading.current_thread() is not threading.main_thread():
        return ()
    return (setpriv, "--pdeathsig", how.name.removeprefix("SIG"), "--")


def resident(process: int) -> int:
    """Return the bytes of memory that a process has resident."""
    return int(Path(f"/proc/{process}/statm").read_text().split()[1]) * os.sysconf("SC_PAGESIZE")


def marked_processes(mark: str) -> list[str]:
    """Return the command lines of all processes that have the mark in them or in their environment."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            command = (process / "cmdline").read_bytes()
            marked = mark.encode() in command + (process / "environ").read_bytes()
        except (FileNotFoundError, ProcessLookupError, PermissionError):
            continue  # it ended while we looked, or is no child of ours
        if marked and command:
            found.append(command.replace(b"\0", b" ").decode(errors="replace"))
    return found


def peak_resident(server: Server) -> int:
    """Return the most bytes of memory that a server has had resident, with whatever processes it has now."""
    group, peak = str(server.pid), 0
    for process in Path("/proc").glob("[0-9]*"):
        try:
            of = (process / "stat").read_text().rpartition(")")[2].split()[2]
            status = (process / "status").read_text() if of == group else ""
        except (FileNotFoundError, ProcessLookupError):
            continue  # it ended while we looked
        peak += sum(1024 * int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM:"))
    return peak
