import asyncio
import socket
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from proxy.wire.names import HostNames


class SilentServers:
    """Name servers that say nothing of some hosts until they are let."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.may_answer = threading.Event()

    def look_up(self, host: str, port: int, **options: Any) -> list[Any]:
        self.asked.append(host)
        if host.startswith("silent"):
            self.may_answer.wait(60)
        return socket.getaddrinfo("127.0.0.1", port, **options)


@pytest.fixture
def servers() -> Iterator[SilentServers]:
    silent = SilentServers()
    yield silent
    silent.may_answer.set()


async def test_names_are_found_as_the_system_finds_them() -> None:
    with HostNames.open() as names:
        found = await names.resolve("localhost", 80, socket.AF_INET)
        assert {(one["hostname"], one["host"], one["port"], one["family"]) for one in found} == {
            ("localhost", "127.0.0.1", 80, socket.AF_INET)
        }
        with pytest.raises(socket.gaierror):
            await names.resolve("no-such-host.invalid", 80)


async def test_a_silent_name_server_holds_up_no_other_registry_and_no_other_work(servers: SilentServers) -> None:
    asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(1))
    with HostNames.open(look_up=servers.look_up) as names, HostNames.open(look_up=servers.look_up) as others:
        waiting = [asyncio.ensure_future(names.resolve(f"silent-{at}", 80)) for at in range(40)]
        await asyncio.sleep(0)
        async with asyncio.timeout(30):
            assert (await others.resolve("heard", 80))[0]["host"] == "127.0.0.1"
            assert await asyncio.to_thread(lambda: "done") == "done"
        assert not any(one.done() for one in waiting)
        servers.may_answer.set()
        assert {found[0]["hostname"] for found in await asyncio.gather(*waiting)} == {
            f"silent-{at}" for at in range(40)
        }


async def test_a_look_up_is_bounded_and_one_that_nobody_waits_for_does_not_begin(servers: SilentServers) -> None:
    with HostNames.open(look_up=servers.look_up, seconds=0.1) as names:
        asked = [names.resolve(f"silent-{at}", 80) for at in range(40)]
        results = await asyncio.gather(*asked, return_exceptions=True)
        assert all(isinstance(one, OSError) and "no name server says within 0.1 s" in str(one) for one in results)
        servers.may_answer.set()
        await names.resolve("heard", 80)
    assert len(servers.asked) == 5
