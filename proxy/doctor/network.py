"""Names and connections: is there anything at the registry's address?"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import ssl
import time
from typing import Final
from urllib.parse import urlsplit

from proxy.config import UpstreamConfig
from proxy.doctor.finding import Finding, ok, problem, warning
from proxy.upstream.errors import describe

_PORTS: Final = {"http": 80, "https": 443}
_MOST_ADDRESSES: Final = 8


async def check_network(config: UpstreamConfig) -> list[Finding]:
    """Resolve the registry's names and open a connection to each of their addresses.

    TLS is left to the first question, which goes through the proxy's own client.
    """
    return [finding for origin in config.urls for finding in await _check_origin(origin, config)]


async def _check_origin(origin: str, config: UpstreamConfig) -> list[Finding]:
    parts = urlsplit(origin)
    host, port = parts.hostname or "", parts.port or _PORTS[parts.scheme]
    loop = asyncio.get_running_loop()
    started = time.perf_counter()
    try:
        async with asyncio.timeout(config.connect_timeout):
            found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except TimeoutError:
        return [
            problem(
                "dns",
                f"no answer within {config.connect_timeout:g} s where {host} is",
                "check the name server (/etc/resolv.conf) of the machine or pod that runs the proxy",
            )
        ]
    except OSError as error:
        return [
            problem(
                "dns",
                f"the name {host} is not known here: {error.strerror or error}",
                "check the spelling of upstream.url and the name server of the machine or pod",
            )
        ]
    spent = time.perf_counter() - started
    addresses = list(dict.fromkeys(str(one[4][0]) for one in found))
    resolved = ok("dns", f"{host} is {', '.join(addresses[:_MOST_ADDRESSES])} ({spent * 1000:.0f} ms)")
    return [resolved, await _connections(addresses[:_MOST_ADDRESSES], port, config.connect_timeout)]


async def _connections(addresses: list[str], port: int, seconds: float) -> Finding:
    started = time.perf_counter()
    outcomes = await asyncio.gather(*(_connect(one, port, seconds) for one in addresses))
    spent = (time.perf_counter() - started) * 1000
    failures = {one: why for one, why in zip(addresses, outcomes, strict=True) if why}
    told = "; ".join(f"{_shown(one, port)}: {why}" for one, why in failures.items())
    if len(failures) == len(addresses):
        return problem(
            "connect",
            f"no address of the registry takes connections: {told}",
            "check that the registry runs, its port, and firewalls or network policies in between",
        )
    if failures:
        return warning(
            "connect",
            f"some addresses of the registry take no connections: {told}",
            "each such address may cost a pull upstream.connect_timeout; take it out of the name's records",
        )
    return ok("connect", f"{', '.join(_shown(one, port) for one in addresses)} take connections ({spent:.0f} ms)")


async def _connect(address: str, port: int, seconds: float) -> str:
    """Return why there is no connection; nothing when there is one."""
    try:
        async with asyncio.timeout(seconds):
            _, writer = await asyncio.open_connection(address, port)
    except TimeoutError:
        return f"no answer within {seconds:g} s"
    except OSError as error:
        return why(error)
    writer.close()
    with contextlib.suppress(OSError, TimeoutError):
        async with asyncio.timeout(seconds):
            await writer.wait_closed()
    return ""


def why(error: Exception) -> str:
    """Say why there is no connection: asyncio's own words are the call that failed, and its arguments."""
    cause = getattr(error, "os_error", error)
    if isinstance(cause, OSError) and not isinstance(cause, ssl.SSLError) and (cause.errno or 0) > 0:
        return os.strerror(cause.errno or 0).lower()
    return describe(error)


def _shown(address: str, port: int) -> str:
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"
