"""An edge node at the end of a thin line: what crosses the line, and what devices get when it fails."""

import asyncio
import itertools
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.lab.balancer import Balancer
from tests.lab.device import Pulled, PullError, pull_each
from tests.lab.images import PushedImage, push_field_image
from tests.lab.line import Line
from tests.lab.peers import require
from tests.lab.process import peak_resident
from tests.lab.proxy import Proxy
from tests.lab.registry import Registry
from tests.lab.waiting import wait_until

KIB, MIB = 2**10, 2**20
COLUMNS = 12
MEGABITS = 20
DEVICES = 50
# Of Ethernet, IPv4 and TCP with timestamps: 66 bytes for each packet of 1448.
HEADERS = 1514 / 1448
REPOSITORY = "site/model"


@dataclass(frozen=True)
class Site:
    """A registry at the far end of a line, with an image in it."""

    directory: Path
    line: Line
    registry: Registry
    image: PushedImage
    stack: ExitStack

    def node(self, name: str = "node", upstream: str | None = None, workers: int = 1) -> Proxy:
        """Start an edge node with an empty directory."""
        room = self.room(name)
        edge = ("--edge", str(room / "edge"))
        # A machine that is busy with other tests is no outage.
        environment = {"TWODFS_PROXY_WORKERS": str(workers), "TWODFS_PROXY_EDGE_OFFLINE_AFTER": "30"}
        return self.stack.enter_context(
            Proxy.start(room, upstream or self.registry.url, *edge, environment=environment)
        )

    def plain(self) -> Proxy:
        """Start a proxy without an edge cache."""
        return self.stack.enter_context(Proxy.start(self.room("plain"), self.registry.url))

    def pull_through(self, name: str, upstream: str) -> Registry:
        """Start a stock registry that is a cache of another."""
        return self.stack.enter_context(
            Registry.start(self.room(name), extra_config={"proxy": {"remoteurl": upstream}})
        )

    def room(self, name: str) -> Path:
        room = self.directory / name
        room.mkdir(exist_ok=True)
        return room

    def sizes(self, tags: Sequence[str]) -> dict[str, int]:
        """Return digest and size of every layer that these partitions have."""
        layers = (layer for tag in tags for layer in self.image.layers(self.image.select(rectangle(tag))))
        return {layer.blob.digest: layer.blob.size for layer in layers}

    def layers(self, tag: str) -> tuple[str, ...]:
        return tuple(layer.blob.digest for layer in self.image.layers(self.image.select(rectangle(tag))))


def rectangle(tag: str) -> tuple[int, int, int, int]:
    x1, y1, x2, y2 = (int(number) for number in tag.partition("--")[2].split("."))
    return x1, y1, x2, y2


def window(first: int, last: int) -> str:
    return f"v1--0.{first}.0.{last}"


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    """A site whose allotments are small, at the end of a line that is no hindrance."""
    with ExitStack() as stack:
        yield built(stack, tmp_path, allotment=64 * KIB, megabits=200)


@pytest.fixture
def far_site(tmp_path: Path) -> Iterator[Site]:
    """A site for which the line is thin: some two seconds for all allotments."""
    with ExitStack() as stack:
        yield built(stack, tmp_path, allotment=400 * KIB, megabits=MEGABITS)


def built(stack: ExitStack, directory: Path, *, allotment: int, megabits: float) -> Site:
    require("docker-registry", "ip", "tc", "nsenter", "unshare", "iptables")
    line = stack.enter_context(Line.start(directory))
    room = directory / "registry"
    room.mkdir()
    registry = stack.enter_context(Registry.start(room, host=line.far, within=line.argv()))
    image = push_field_image(
        registry.url,
        REPOSITORY,
        "v1",
        cells={(0, column): {f"{column}.bin": os.urandom(allotment)} for column in range(COLUMNS)},
        base={"base.bin": os.urandom(allotment)},
        allotment_compression="none",
        base_compression="none",
    )
    line.throttle(megabits)
    return Site(directory, line, registry, image, stack)


def downloads(registry: Registry, since: int = 0) -> tuple[Counter[str], Counter[str]]:
    """Return how often each blob was asked for, and how many bytes of it were sent, by digest."""
    asked, sent = Counter[str](), Counter[str]()
    for one in registry.requests()[since:]:
        if one.method == "GET" and "/blobs/" in one.target:
            digest = one.target.rpartition("/")[2].partition("?")[0]
            asked[digest] += 1
            sent[digest] += one.size
    return asked, sent


def check(site: Site, tags: Sequence[str], pulls: Sequence[Pulled]) -> None:
    """Compare the layers of pulls, whose every byte was hashed, with those of the image."""
    assert [pulled.layers for pulled in pulls] == [site.layers(tag) for tag in tags]


async def compare(site: Site, tags: Sequence[str], pulls: Sequence[Pulled]) -> None:
    """Compare pulls with what a proxy without an edge cache gives, to the byte."""
    plain = await pull_each(site.plain().url, REPOSITORY, sorted(set(tags)), with_layers=False)
    expected = {tag: (one.digest, one.documents) for tag, one in zip(sorted(set(tags)), plain, strict=True)}
    assert [(pulled.digest, pulled.documents) for pulled in pulls] == [expected[tag] for tag in tags]


WINDOWS = [window(first, last) for first, last in itertools.combinations(range(COLUMNS), 2)]


async def test_fifty_cold_pulls_cross_the_line_once(far_site: Site) -> None:
    node = far_site.node()
    tags = WINDOWS[:DEVICES]
    before, asked_before = far_site.line.received(), len(far_site.registry.requests())
    pulls = await pull_each(node.url, REPOSITORY, tags)
    crossed = far_site.line.received() - before
    asked, sent = downloads(far_site.registry, asked_before)
    union = far_site.sizes(tags)
    assert {digest: sent[digest] for digest in union} == union
    assert set(asked.values()) == {1}
    assert crossed <= 1.05 * HEADERS * sum(union.values())
    assert peak_resident(node) < 150 * MIB
    check(far_site, tags, pulls)
    await compare(far_site, tags, pulls)


async def test_two_workers_ask_for_each_layer_once(site: Site) -> None:
    node = site.node(workers=2)
    tags = WINDOWS[:20]
    before = len(site.registry.requests())
    pulls = await pull_each(node.url, REPOSITORY, tags)
    asked, _ = downloads(site.registry, before)
    assert {asked[digest] for digest in site.sizes(tags)} == {1}
    check(site, tags, pulls)


async def test_a_tag_that_moved_is_new_right_after_the_line_was_refused(site: Site) -> None:
    node, tag = site.node(), window(0, 3)
    (first,) = await pull_each(node.url, REPOSITORY, [tag])
    site.line.refuse()
    (stale,) = await pull_each(node.url, REPOSITORY, [tag])
    assert (stale.digest, stale.warned) == (first.digest, True)
    site.line.restore()
    moved = push_field_image(site.registry.url, REPOSITORY, "v1", cells={(0, 0): {"0.bin": b"moved"}})
    (fresh,) = await pull_each(node.url, REPOSITORY, [tag])
    assert not fresh.warned
    assert fresh.layers == tuple(layer.blob.digest for layer in moved.layers(moved.allotments))


@pytest.mark.parametrize("how", ["hangs", "breaks"])
async def test_fills_go_on_after_the_line_was_down(far_site: Site, how: str) -> None:
    line, tags = far_site.line, [window(0, 5), window(3, 8), window(6, 11)]
    node = far_site.node()
    total = sum(far_site.sizes(tags).values())
    before = line.received()
    pulls = asyncio.create_task(pull_each(node.url, REPOSITORY, tags))
    await asyncio.to_thread(wait_until, lambda: line.received() - before > total / 3)
    line.cut() if how == "hangs" else line.refuse()
    await asyncio.to_thread(wait_until, lambda: line.stopped() >= 5)
    line.restore()
    pulled = await pulls
    assert line.received() - before <= 1.15 * HEADERS * total
    check(far_site, tags, pulled)


async def test_a_node_behind_a_node_asks_for_each_blob_once(site: Site) -> None:
    regional = site.node("regional")
    node = site.node("edge", regional.url)
    tags = WINDOWS[:10]
    before = len(site.registry.requests())
    pulls = await pull_each(node.url, REPOSITORY, tags)
    asked, _ = downloads(site.registry, before)
    assert set(asked.values()) == {1}
    assert asked.keys() >= site.sizes(tags).keys()
    relayed = Counter(one["path"] for one in regional.log_events() if one.get("method") == "GET")
    blobs = [f"/v2/{REPOSITORY}/blobs/{digest}" for digest in site.sizes(tags)]
    assert {relayed[path] for path in blobs} == {1}
    check(site, tags, pulls)
    await compare(site, tags, pulls)


async def test_a_stock_pull_through_registry_may_stand_on_either_side(site: Site) -> None:
    behind = site.pull_through("behind", site.registry.url)
    node = site.node("node", behind.url)
    before = site.pull_through("before", node.url)
    tags = WINDOWS[:10]
    pulls = await pull_each(node.url, REPOSITORY, tags)
    asked, _ = downloads(behind)
    assert set(asked.values()) == {1}
    check(site, tags, pulls)
    again = await pull_each(before.url, REPOSITORY, tags)
    assert [one.digest for one in again] == [one.digest for one in pulls]


async def test_nginx_may_stand_before_a_node(site: Site) -> None:
    node = site.node()
    front = site.stack.enter_context(Balancer.start(site.directory / "nginx", [node.address]))
    tags = WINDOWS[:10]
    before = len(site.registry.requests())
    pulls = await pull_each(front.url, REPOSITORY, tags)
    asked, _ = downloads(site.registry, before)
    assert set(asked.values()) == {1}
    check(site, tags, pulls)


async def test_a_line_that_hangs_costs_one_short_wait(site: Site) -> None:
    patience = 1.5
    room = site.room("node")
    config = f'edge.directory = "{room / "edge"}"\nedge.offline_after = {patience}\n'
    node = site.stack.enter_context(Proxy.start(room, site.registry.url, config=config))
    (first,) = await pull_each(node.url, REPOSITORY, [window(0, 5)])
    site.line.cut()
    tags = [window(0, 5), *(window(at, at + 2) for at in range(4))]
    pulls = [(await pull_each(node.url, REPOSITORY, [tag]))[0] for tag in tags]
    assert sum(one.seconds >= patience for one in pulls) == 1  # one wait, however many requests
    assert pulls[0].digest == first.digest
    assert all(one.warned for one in pulls)
    with pytest.raises(ExceptionGroup) as missing:
        await pull_each(node.url, REPOSITORY, [window(6, 7)])
    assert missing.group_contains(PullError, match="503")
    site.line.restore()
    check(site, tags, pulls)
