"""What may stand between an engine and its edge node: a mirror on each machine that shares what its neighbours have.

Spegel, which is such a mirror, is not here: its part is played by a server that does what its documentation says. It
answers GET and HEAD of content that a neighbour has, by digest, and 404 to all else, whereupon containerd asks the next
host of its `hosts.toml`.
"""

import asyncio
import re
from pathlib import Path

from aiohttp import web

from tests.lab.engines import Containerd
from tests.lab.fake_registry import served
from tests.lab.images import push_field_image
from tests.lab.proxy import Proxy
from tests.lab.registry import Registry

PAGE = (Path(__file__).parents[2] / "docs" / "edge.md").read_text()
CELLS = {(0, column): {f"{column}": b"%d" % column * 300_000} for column in range(3)}
_WITH_A_MIRROR = "hosts.toml, with Spegel before the node"


def hosts_toml(beginning: str, **addresses: str) -> str:
    """Return the page's file that is introduced so, with these addresses in place of the page's."""
    (found,) = re.findall(rf"{re.escape(beginning)}.*?^```toml\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
    text = str(found)
    for name, address in addresses.items():
        text = text.replace(PLACES[name], address)
    return text


PLACES = {
    "registry": "https://registry.example.org",
    "mirror": "http://127.0.0.1:30020",
    "node": "http://127.0.0.1:5000",
}


async def test_containerd_asks_its_neighbours_then_the_node(containerd_engine: Containerd, tmp_path: Path) -> None:
    room = tmp_path / "registry"
    room.mkdir()
    with await asyncio.to_thread(Registry.start, room) as registry:
        image = await asyncio.to_thread(push_field_image, registry.url, "fronts/model", "v1", cells=CELLS)
        neighbours = image.allotments[0, 0].blob
        asked: list[tuple[str, str]] = []

        async def mirror(request: web.Request) -> web.Response:
            asked.append((request.method, request.path))
            if not request.path.endswith(f"/blobs/{neighbours.digest}"):
                return web.Response(status=404)
            return web.Response(body=neighbours.content)

        async with served(mirror) as peer:
            with await asyncio.to_thread(Proxy.start, tmp_path, registry.url, "--edge", str(tmp_path / "edge")) as node:
                place = tmp_path / "hosts" / registry.address / "hosts.toml"
                place.parent.mkdir(parents=True)
                place.write_text(hosts_toml(_WITH_A_MIRROR, registry=registry.url, mirror=peer, node=node.url))
                await asyncio.to_thread(pulled, containerd_engine, registry, "v1--0.0.0.1", place.parents[1])
                crossed = [one.target for one in registry.requests() if one.method == "GET"]
                assert ("GET", f"/v2/fronts/model/blobs/{neighbours.digest}") in asked
                assert not [one for one in crossed if neighbours.digest in one]
                assert len([one for one in crossed if image.allotments[0, 1].blob.digest in one]) == 1

                await asyncio.to_thread(registry.stop)
                asked.clear()
                await asyncio.to_thread(pulled, containerd_engine, registry, "v1--0.1.0.1", place.parents[1])
                assert asked


def pulled(engine: Containerd, registry: Registry, tag: str, hosts: Path) -> None:
    name = f"{registry.address}/fronts/model:{tag}"
    engine.pull_by_hosts(name, hosts)
    x1, y1, x2, y2 = map(int, tag.partition("--")[2].split("."))
    expected = {f"{column}": b"%d" % column * 300_000 for column in range(y1, y2 + 1)}
    assert (x1, x2) == (0, 0)
    assert expected.items() <= engine.files(name).items()
    engine.remove(name)
