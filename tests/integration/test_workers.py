"""Several workers on one port, as real processes: sums, deaths, reloads and ends."""

import asyncio
import contextlib
import hashlib
import http.client
import os
import signal
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.lab.exposition import Scrape
from tests.lab.fake_registry import until
from tests.lab.images import push_field_image
from tests.lab.proxy import Proxy
from tests.lab.raw_peer import connected, head_of, upload
from tests.lab.redis import Redis
from tests.lab.registry import Registry
from tests.lab.registry_client import RegistryClient

MIB = 2**20
REPOSITORY = "workers/model"
CONFIG = """
workers = {workers}
[cache]
redis_url = "{redis}"
"""


@pytest.fixture
def workers(registry: Registry, redis_server: Redis, tmp_path: Path) -> Iterator[Proxy]:
    push_field_image(registry.url, REPOSITORY, "v1", cells={(0, at): {"f": b"%d" % at} for at in range(4)})
    config = CONFIG.format(workers=2, redis=redis_server.url)
    with Proxy.start(tmp_path, registry.url, config=config) as proxy:
        yield proxy


def pids(proxy: Proxy) -> list[int]:
    """Return the workers' process ids, in the order in which they became ready."""
    return [one["pid"] for one in proxy.log_events() if one["event"] == "worker ready"]


@contextlib.contextmanager
def only(proxy: Proxy, pid: int) -> Iterator[None]:
    """Let one worker alone take connections: which of two idle ones the kernel wakes is its own affair."""
    others = [one for one in pids(proxy) if one != pid]
    for one in others:
        os.kill(one, signal.SIGSTOP)
    try:
        yield
    finally:
        for one in others:
            os.kill(one, signal.SIGCONT)


def events(proxy: Proxy, event: str) -> int:
    """Count the lines of an event, without reading those of requests: there may be a hundred thousand."""
    mark = b'"event":"%s"' % event.encode()
    return proxy.log.read_bytes().count(mark)


def pull(proxy: Proxy, tag: str) -> int:
    with RegistryClient(proxy.url) as client:
        return client.get_manifest(REPOSITORY, tag).status


def requests(proxy: Proxy) -> float:
    return Scrape.of(proxy.admin_url).total("twodfs_proxy_requests_total")


async def test_the_metrics_of_all_workers_add_up_and_outlive_them(workers: Proxy) -> None:
    run = asyncio.to_thread
    for pid in pids(workers):
        with only(workers, pid):
            for _ in range(20):
                assert await run(pull, workers, "v1--0.0.0.1") == 200
    seen = {one["worker"] for one in workers.log_events() if one["event"] == "request"}
    assert seen == {1, 2}, "both take requests"
    assert await run(requests, workers) == 40
    scrape = await run(Scrape.of, workers.admin_url)
    assert scrape.value("twodfs_proxy_workers") == 2
    assert scrape.value("twodfs_proxy_build_info", scrape.labels("twodfs_proxy_build_info")[0]) == 1
    os.kill(pids(workers)[0], signal.SIGKILL)
    await until(lambda: len(pids(workers)) == 3, 30)
    scrape = await run(Scrape.of, workers.admin_url)
    assert scrape.total("twodfs_proxy_requests_total") == 40, "no counter goes back"
    assert scrape.value("twodfs_proxy_workers") == 2
    assert scrape.value("twodfs_proxy_worker_restarts_total") == 1
    os.kill(workers.pid, signal.SIGHUP)
    await until(lambda: events(workers, "reloaded") == 1, 30)
    assert await run(pull, workers, "v1--0.0.0.1") == 200
    assert await run(requests, workers) == 41, "nor after a reload"


async def test_a_digest_that_one_worker_made_is_known_to_the_others(workers: Proxy) -> None:
    def digest_of_tag(tag: str) -> str:
        with RegistryClient(workers.url) as client:
            return client.get_manifest(REPOSITORY, tag).headers["docker-content-digest"]

    first, second = pids(workers)
    with only(workers, first):
        digest = await asyncio.to_thread(digest_of_tag, "v1--0.0.0.1")
    with only(workers, second):
        assert await asyncio.to_thread(pull, workers, digest) == 200

    def by_worker() -> list[int]:
        return sorted(one["worker"] for one in workers.log_events() if one["event"] == "request")

    await until(lambda: by_worker() == [1, 2])  # a worker may be stopped between its answer and its line


async def test_a_worker_that_dies_is_replaced_and_the_others_go_on(workers: Proxy) -> None:
    first = next(one["pid"] for one in workers.log_events() if one.get("worker") == 1 and "pid" in one)
    os.kill(first, signal.SIGKILL)
    for _ in range(50):  # while it is being replaced
        assert await asyncio.to_thread(pull, workers, "v1--0.0.0.2") == 200
    await until(lambda: len(pids(workers)) == 3, 30)
    (death,) = [one for one in workers.log_events() if one["event"] == "worker died"]
    assert (death["worker"], death["status"]) == (1, -signal.SIGKILL)


async def test_sigterm_lets_the_downloads_of_all_workers_finish(workers: Proxy) -> None:
    content = os.urandom(8 * MIB)
    host, _, port = workers.address.rpartition(":")
    target = await upload(host, int(port), content)
    async with contextlib.AsyncExitStack() as stack:
        streams = []
        for pid in pids(workers):
            with only(workers, pid):
                for _ in range(25):
                    reader, writer = await stack.enter_async_context(connected(host, int(port)))
                    writer.write(f"GET {target} HTTP/1.1\r\nHost: h\r\n\r\n".encode())
                    await head_of(reader)
                    streams.append(reader)
        exit_code = asyncio.get_running_loop().run_in_executor(None, workers.terminate)
        await until(lambda: events(workers, "stopping") == 1)
        await until(lambda: refuses(host, int(port)))
        wanted = hashlib.sha256(content).digest()
        for reader in streams:
            assert hashlib.sha256(await reader.readexactly(len(content))).digest() == wanted
    assert await exit_code == 0
    assert workers.log_events()[-1]["event"] == "stopped"
    by_worker = {one["worker"] for one in workers.log_events() if one.get("path") == target}
    assert by_worker == {1, 2}


def refuses(host: str, port: int) -> bool:
    connection = http.client.HTTPConnection(host, port, timeout=5)
    try:
        connection.connect()
    except ConnectionRefusedError:
        return True
    except ConnectionResetError:  # it was in the queue when that was closed
        return False
    finally:
        connection.close()
    return False


async def test_a_reload_under_load_fails_no_request(workers: Proxy) -> None:
    over = threading.Event()
    before = pids(workers)

    def load() -> list[int]:
        seen = []
        while not over.is_set():
            seen.append(pull(workers, "v1--0.0.0.3"))
            over.wait(0.005)  # the rest of the test shares this interpreter
        return seen

    async with asyncio.TaskGroup() as tasks:
        loads = [tasks.create_task(asyncio.to_thread(load)) for _ in range(4)]
        try:
            for number in (1, 2):
                os.kill(workers.pid, signal.SIGHUP)
                await until(lambda: events(workers, "reloaded") == number, 60)  # noqa: B023 - awaited at once
        finally:
            over.set()
    statuses = [status for one in loads for status in one.result()]
    assert set(statuses) == {200}
    await until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in before))
    assert len(set(pids(workers))) == 6


async def test_a_reload_reads_the_configuration_again_and_keeps_the_old_one_where_it_is_bad(
    workers: Proxy, redis_server: Redis
) -> None:
    file = workers.log.parent / "config.toml"
    file.write_text("workers = 3\nlisten = 7\n")
    os.kill(workers.pid, signal.SIGHUP)
    await until(lambda: events(workers, "not reloaded") == 1)
    assert await asyncio.to_thread(pull, workers, "v1--0.0.0.0") == 200
    file.write_text(CONFIG.format(workers=3, redis=redis_server.url))
    os.kill(workers.pid, signal.SIGHUP)
    await until(lambda: events(workers, "reloaded") == 1, 60)
    assert len(pids(workers)) == 5
    assert await asyncio.to_thread(pull, workers, "v1--0.0.0.0") == 200
    assert await asyncio.to_thread(workers.terminate) == 0


async def test_workers_end_with_a_parent_that_is_killed(workers: Proxy) -> None:
    running = pids(workers)
    os.kill(workers.pid, signal.SIGKILL)
    await until(lambda: not any(Path(f"/proc/{pid}/fd/0").exists() for pid in running), 30)


async def test_health_is_that_of_the_workers(workers: Proxy) -> None:
    def ready() -> tuple[int, bytes]:
        with RegistryClient(workers.admin_url) as client:
            answer = client.request("GET", "/readyz")
        return answer.status, answer.body

    status, body = await asyncio.to_thread(ready)
    assert status == 200
    assert b'"workers":"2 of 2"' in body
    for pid in pids(workers):
        os.kill(pid, signal.SIGSTOP)
    status, body = await asyncio.to_thread(ready)
    assert status == 503
    for pid in pids(workers):
        os.kill(pid, signal.SIGCONT)
    status, _ = await asyncio.to_thread(ready)
    assert status == 200
