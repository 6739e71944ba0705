"""Redis as several servers: a master that Sentinels watch, and a cluster."""

import contextlib
import functools
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Self

from redis import Redis as Client
from redis.backoff import NoBackoff
from redis.exceptions import RedisError
from redis.retry import Retry

from tests.lab.process import Launch, Server, free_port, listens
from tests.lab.programs import environment, program
from tests.lab.redis import Redis

SERVICE = "shared"
_DOWN_AFTER = 500  # milliseconds until a server that is silent counts as down
_PATIENCE = 40.0
_SLOTS = 16_384


class Sentinel(Server):
    """Watches `master` with the others; a quorum of two makes a replica the next master."""

    @classmethod
    def start(cls, directory: Path, master: int, port: int) -> Self:
        directory.mkdir()
        config = directory / "sentinel.conf"
        config.write_text(
            f"port {port}\nbind 127.0.0.1\ndir {directory}\n"
            f"sentinel monitor {SERVICE} 127.0.0.1 {master} 2\n"
            f"sentinel down-after-milliseconds {SERVICE} {_DOWN_AFTER}\n"
            f"sentinel failover-timeout {SERVICE} 3000\n"
        )
        launch = Launch(
            argv=(program("redis-server"), str(config), "--sentinel"),
            log=directory / "sentinel.log",
            ready=listens(port),
            environment=environment(),
            directory=directory,
            orphaned=signal.SIGKILL,
        )
        server = cls(launch)
        server.launch()
        return server


class Group:
    """Redis servers that stand for one. `url` is what the proxy is given."""

    def __init__(self, url: str, servers: list[Redis], masters: Callable[[], set[int]]) -> None:
        self.url = url
        self._servers = servers
        self._masters = masters

    def lose_a_master(self) -> Redis:
        """Kill a server that is master now, and return it."""
        masters = self._masters()
        master = next(one for one in self._servers if one.port in masters)
        master.kill()
        return master

    def wait_until_replaced(self, lost: Redis) -> None:
        """Wait until another server is master in its place."""
        before = len(self._masters() | {lost.port})
        _until(lambda: lost.port not in (now := self._masters()) and len(now) == before, "a new master")

    def recipes(self) -> set[bytes]:
        """Return the names of the recipes that any of the servers has."""
        found: set[bytes] = set()
        for server in self._servers:
            if server.is_running():
                with server.client() as client:
                    found |= set(client.scan_iter("*:recipe:*"))
        return found


@contextlib.contextmanager
def watched_by_sentinels(directory: Path) -> Iterator[Group]:
    """Run a master, two replicas and three Sentinels."""
    with contextlib.ExitStack() as stack:
        master = stack.enter_context(Redis.start(_made(directory / "master")))
        replicas = [
            stack.enter_context(Redis.start(_made(directory / name), "--replicaof", f"127.0.0.1 {master.port}"))
            for name in ("one", "two")
        ]
        servers = [master, *replicas]
        for server in servers:
            # A master that waits to save a snapshot for each replica starts up slowly.
            with server.client() as client:
                client.config_set("repl-diskless-sync-delay", 0)
        ports = [free_port() for _ in range(3)]
        for port in ports:
            stack.enter_context(Sentinel.start(directory / f"sentinel-{port}", master.port, port))

        def masters() -> set[int]:
            with _client(ports[0]) as client:
                return {int(client.sentinel_get_master_addr_by_name(SERVICE)[1])}

        def everybody_knows_everybody() -> bool:
            known = []
            for port in ports:
                with _client(port) as client:
                    state = client.sentinel_masters()[SERVICE]
                    known.append((state["num-slaves"], state["num-other-sentinels"]))
            return known == [(2, 2)] * 3 and all(_is_copied(one) for one in replicas)

        _until(everybody_knows_everybody, "the Sentinels to find each other")
        nodes = ",".join(f"127.0.0.1:{port}" for port in ports)
        yield Group(f"redis+sentinel://{nodes}/{SERVICE}", servers, masters)


@contextlib.contextmanager
def clustered(directory: Path) -> Iterator[Group]:
    """Run a cluster of three masters, each with a replica."""
    with contextlib.ExitStack() as stack:
        servers = [
            stack.enter_context(
                Redis.start(
                    _made(directory / str(number)),
                    *("--cluster-enabled", "yes", "--cluster-node-timeout", "1000"),
                    *("--cluster-port", str(free_port())),
                )
            )
            for number in range(6)
        ]
        _join(servers)

        def masters() -> set[int]:
            alive = next(one for one in servers if one.is_running())
            with alive.client() as client:
                nodes = client.execute_command("CLUSTER NODES")
            return {
                int(name.rpartition(":")[2])
                for name, node in nodes.items()
                if "master" in node["flags"] and "fail" not in node["flags"] and node["slots"]
            }

        _until(lambda: all(_is_whole(one) for one in servers) and len(masters()) == 3, "the cluster")
        url = f"redis+cluster://127.0.0.1:{servers[0].port},127.0.0.1:{servers[1].port}"
        yield Group(url, servers, masters)


def _join(servers: list[Redis]) -> None:
    """Make one cluster of `servers`: the first half are masters, each of the others copies one of them."""
    masters, replicas = servers[: len(servers) // 2], servers[len(servers) // 2 :]
    share = -(-_SLOTS // len(masters))
    with servers[0].client() as client:
        bus = client.config_get("cluster-port")["cluster-port"]
    for at, server in enumerate(servers):
        with server.client() as client:
            client.execute_command("CLUSTER SET-CONFIG-EPOCH", at + 1)
            if server in masters:
                last = min((at + 1) * share, _SLOTS) - 1
                client.execute_command("CLUSTER ADDSLOTSRANGE", at * share, last)
            if at:
                client.execute_command("CLUSTER MEET", "127.0.0.1", servers[0].port, bus)
    for master, replica in zip(masters, replicas, strict=True):
        with master.client() as client:
            name = client.execute_command("CLUSTER MYID").decode()
        _until(functools.partial(_follows, replica, name), "a replica to meet its master")


def _follows(replica: Redis, master: str) -> bool:
    with replica.client() as client:
        return bool(client.execute_command("CLUSTER REPLICATE", master))


def _is_whole(server: Redis) -> bool:
    with server.client() as client:
        info = client.execute_command("CLUSTER INFO")
        is_copy = client.info("replication")["role"] == "master" or _is_copied(server)
    return bool(info["cluster_state"] == "ok" and info["cluster_known_nodes"] == "6" and is_copy)


def _is_copied(replica: Redis) -> bool:
    with replica.client() as client:
        return bool(client.info("replication").get("master_link_status") == "up")


def _client(port: int) -> Client:
    return Client(port=port, socket_timeout=5, retry=Retry(NoBackoff(), 0))


def _made(directory: Path) -> Path:
    directory.mkdir(parents=True)
    return directory


def _until(holds: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + _PATIENCE
    while True:
        with contextlib.suppress(RedisError, KeyError):
            if holds():
                return
        if time.monotonic() > deadline:
            raise TimeoutError(f"waited {_PATIENCE:g} s for {what}")
        time.sleep(0.1)
