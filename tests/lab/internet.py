"""A network that has nothing but loopback, where names of registries lead to servers of the lab.

Programs in it believe that they ask Docker Hub, and nothing can leave it: its network namespace has no other interface.
It belongs to the process that holds it, which ends with the test run however that ends.
"""

import contextlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Self

from tests.lab import command
from tests.lab.certificates import Authority
from tests.lab.process import Launch, Server
from tests.lab.programs import environment, program

HOSTS, AUTHORITIES = "/etc/hosts", "/etc/ssl/certs/ca-certificates.crt"
"""Files that are the network's own."""
_HOLD = f"""
ip link set lo up
mount --bind "$1" {HOSTS}
mount --bind "$2" {AUTHORITIES}
touch "$3"
exec sleep infinity
"""


class Internet:
    """`with Internet.start(directory, {"registry.example.org": "127.0.1.1"}) as internet: ...`."""

    def __init__(self, directory: Path, addresses: Mapping[str, str]) -> None:
        self.authority = Authority(directory, "internet")
        self.addresses = {"localhost": "127.0.0.1", **addresses}
        hosts, ready = directory / "hosts", directory / "internet-ready"
        hosts.write_text("".join(f"{address} {name}\n" for name, address in self.addresses.items()))
        unshare = (program("unshare"), "--net", "--mount", "--propagation", "private", "--")
        files = (str(hosts), str(self.authority.bundle), str(ready))
        self._holder = Server(
            Launch(
                argv=(*unshare, "/bin/sh", "-euc", _HOLD, "internet", *files),
                log=directory / "internet.log",
                ready=ready.exists,
                environment=environment(),
                directory=directory,
            )
        )

    @classmethod
    @contextlib.contextmanager
    def start(cls, directory: Path, addresses: Mapping[str, str]) -> Iterator[Self]:
        """Make a network where each name has its address of loopback, 127.0.0.0/8."""
        internet = cls(directory, addresses)
        with internet._holder as holder:
            holder.launch()
            yield internet

    def argv(self, *argv: str) -> tuple[str, ...]:
        """Return the command that runs this one in the network; all but `HOSTS` and `AUTHORITIES` is as here."""
        of = f"/proc/{self._holder.pid}/ns"
        return (program("nsenter"), f"--net={of}/net", f"--mount={of}/mnt", "--", *argv)

    def answers(self, url: str) -> Callable[[], bool]:
        """Return a check: does anything answer a GET of the URL in the network?"""
        argv = self.argv(program("curl"), "--silent", "--max-time", "5", "--output", "/dev/null", url)

        def check() -> bool:
            try:
                command.run(argv, environment())
            except command.CommandError:
                return False
            return True

        return check
