"""Addresses of hosts, looked up in threads that nobody else waits for.

A look-up in a thread cannot be ended: while name servers are silent it takes half a minute. Those of asyncio's own
threads, which aiohttp would take, check passwords, seal records and read the disk for everybody.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final

from aiohttp.abc import AbstractResolver, ResolveResult

_MOST: Final = 4
"""Threads; aiohttp looks a host up once for all who ask."""
_LONGEST: Final = 30.0
"""Seconds for a look-up, and the wait for a thread before it."""
_NUMERIC: Final = socket.AI_NUMERICHOST | socket.AI_NUMERICSERV

LookUp = Callable[..., list[Any]]
"""Does as ``socket.getaddrinfo``."""


class HostNames(AbstractResolver):
    """Looks names up for the connections to one registry, or to the hosts that it redirects to."""

    def __init__(self, executor: ThreadPoolExecutor, look_up: LookUp, seconds: float) -> None:
        self._executor = executor
        self._look_up = look_up
        self._seconds = seconds

    @classmethod
    @contextlib.contextmanager
    def open(cls, *, look_up: LookUp | None = None, seconds: float = _LONGEST) -> Iterator[HostNames]:
        """Have threads for the time of the context; what they are at is not waited for.

        Args:
            look_up: in place of the system's.
            seconds: for one name.
        """
        executor = ThreadPoolExecutor(_MOST, "names")
        try:
            yield cls(executor, look_up or socket.getaddrinfo, seconds)
        finally:
            executor.shutdown(wait=False, cancel_futures=True)

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        """Return the addresses of ``host``.

        Raises:
            OSError: it has none, or nobody said in time.
        """
        looking = asyncio.get_running_loop().run_in_executor(self._executor, self._found, host, port, family)
        try:
            async with asyncio.timeout(self._seconds):
                return await looking
        except TimeoutError:
            raise OSError(None, f"no name server says within {self._seconds:g} s which address {host} has") from None

    def _found(self, host: str, port: int, family: int) -> list[ResolveResult]:
        results = []
        for kind, _, protocol, _, address in self._look_up(
            host, port, type=socket.SOCK_STREAM, family=family, flags=socket.AI_ADDRCONFIG
        ):
            # With its zone, where it has one: a link-local address is none without.
            shown, service = socket.getnameinfo(address, socket.NI_NUMERICHOST | socket.NI_NUMERICSERV)
            results.append(
                ResolveResult(hostname=host, host=shown, port=int(service), family=kind, proto=protocol, flags=_NUMERIC)
            )
        return results

    async def close(self) -> None:
        """Do nothing: the context closes."""
