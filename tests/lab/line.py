"""A thin line: a network namespace at the far end of a pair of interfaces whose rate is limited in both directions.

The namespace has no name. It belongs to the process that holds it, which ends with the test run however that ends,
and the kernel then removes the interfaces at both ends. What is cut is cut by a packet filter inside of it.
"""

import contextlib
import json
import random
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Self

from tests.lab import command
from tests.lab.process import Launch, Server, StartError
from tests.lab.programs import environment, program

_HOLD = 'touch "$1"; exec sleep infinity'
_SLOTS = 64 * 256
"""As many lines fit beside each other into one private network: each takes four addresses of it."""
_TRIES = 100
_QUEUE_SECONDS = 0.25
"""What waits before the line at most, as in a router that has too much memory."""
_BURST = 8 * 1024
"""Bytes; larger packets of the kernel's own making are sent as several, each with its header, as on a wire."""
_ALL = ("-p", "all")
_TCP = ("-p", "tcp")


class Line:
    """`with Line.start(directory) as line: ...`; servers at the far end start with `line.argv()` before them."""

    def __init__(self, holder: Server, slot: int) -> None:
        network = f"10.213.{slot // 64}"
        self.near = f"{network}.{slot % 64 * 4 + 1}"
        """This end's address."""
        self.far = f"{network}.{slot % 64 * 4 + 2}"
        self._holder = holder
        self._here, self._there = f"lab{slot}near", f"lab{slot}far"

    @classmethod
    @contextlib.contextmanager
    def start(cls, directory: Path) -> Iterator[Self]:
        """Make a line without a limit; its far end has nothing but loopback. Raises StartError, CommandError."""
        made = directory / "line.made"
        launch = Launch(
            argv=(program("unshare"), "--net", "--", "/bin/sh", "-euc", _HOLD, "line", str(made)),
            log=directory / "line.log",
            ready=made.exists,
            environment=environment(),
            directory=directory,
            orphaned=signal.SIGKILL,
        )
        with Server(launch) as holder:
            holder.launch()
            line = cls._between(holder)
            try:
                line._connect()
                yield line
            finally:
                line._remove()

    @classmethod
    def _between(cls, holder: Server) -> Self:
        """Make the pair under names that nobody has: the kernel says so."""
        for _ in range(_TRIES):
            line = cls(holder, random.randrange(_SLOTS))
            far = ("peer", "name", line._there, "netns", str(holder.pid))
            try:
                _ip("link", "add", "name", line._here, "type", "veth", *far)
            except command.CommandError as error:
                if "File exists" not in error.output:
                    raise
            else:
                return line
        raise StartError("all names of lines are taken")

    def _connect(self) -> None:
        _ip("address", "add", f"{self.near}/30", "dev", self._here)
        _ip("link", "set", self._here, "up")
        self.run("ip", "link", "set", "lo", "up")
        self.run("ip", "address", "add", f"{self.far}/30", "dev", self._there)
        self.run("ip", "link", "set", self._there, "up")
        # Linux's default, whatever this machine's: one that paces by timers would measure those.
        route = (f"{_network(self.far)}/30", "proto", "kernel", "scope", "link", "congctl", "cubic")
        _ip("route", "replace", *route, "dev", self._here, "src", self.near)
        self.run("ip", "route", "replace", *route, "dev", self._there, "src", self.far)

    def _remove(self) -> None:
        with contextlib.suppress(command.CommandError):  # gone with the namespace where its holder was killed
            _ip("link", "delete", self._here)

    def argv(self, *argv: str) -> tuple[str, ...]:
        """Return the command that runs this one at the far end."""
        return (program("nsenter"), f"--net=/proc/{self._holder.pid}/ns/net", "--", *argv)

    def run(self, name: str, *arguments: str) -> str:
        """Return what a program wrote to its standard output at the far end; raises CommandError."""
        return command.run(self.argv(program(name), *arguments), environment())

    def throttle(self, megabits: float) -> None:
        """Let so many megabits a second pass in each direction from now on."""
        rate = f"{round(1_000_000 * megabits)}bit"
        queue = max(round(_QUEUE_SECONDS * 1_000_000 * megabits / 8), 4 * _BURST)
        shape = ("root", "tbf", "rate", rate, "burst", str(_BURST), "limit", str(queue))
        command.run((program("tc"), "qdisc", "replace", "dev", self._here, *shape), environment())
        self.run("tc", "qdisc", "replace", "dev", self._there, *shape)

    def received(self) -> int:
        """Return the bytes that came over the line so far, with the headers of packets."""
        (found,) = json.loads(_ip("-stats", "-json", "link", "show", "dev", self._here))
        received: int = found["stats64"]["rx"]["bytes"]
        return received

    def cut(self) -> None:
        """Let packets vanish: connections hang, new ones too."""
        for chain in ("INPUT", "OUTPUT"):
            self._filter("--append", chain, *_ALL, "-j", "DROP")

    def refuse(self) -> None:
        """End every connection at its next packet, and refuse new ones."""
        self._filter("--append", "INPUT", *_TCP, "-j", "REJECT", "--reject-with", "tcp-reset")

    def stopped(self) -> int:
        """Return how many packets to the far end were not let through since the line was cut or refused."""
        counted = self.run("iptables", "--wait", "--list", "INPUT", "--verbose", "--exact", "--numeric")
        return sum(int(rule.split()[0]) for rule in counted.splitlines()[2:])

    def restore(self) -> None:
        """Let everything pass again."""
        self._filter("--flush")

    def _filter(self, *rule: str) -> None:
        self.run("iptables", "--wait", *rule)


def _network(address: str) -> str:
    """Return the network's own address for that of its far end."""
    head, _, last = address.rpartition(".")
    return f"{head}.{int(last) - 2}"


def _ip(*arguments: str) -> str:
    return command.run((program("ip"), *arguments), environment())
