"""Through a prefix or `ns` a registry answers as it does itself, and its addresses lead back to it."""

import contextlib
import json
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import ExitStack
from urllib.parse import urljoin

import aiohttp
import pytest
from aiohttp import web
from yarl import URL

from tests.lab.conversation import Exchange, is_explained, whole_api
from tests.lab.fake_registry import proxied, served
from tests.lab.named_conversation import NamedConversation
from tests.lab.peers import require
from tests.lab.proxy import Proxy
from tests.lab.registry import Registry

CONFIG = """
trusted_proxies = ["127.0.0.2/32"]
[[upstream]]
name = "first"
url = "{first}"
[[upstream]]
name = "other"
url = "{other}"
prefix = "far/off"
namespaces = ["other.example"]
hosts = ["other.lab"]
"""


@pytest.fixture(scope="module", params=["prefix", "ns"])
def conversations(
    request: pytest.FixtureRequest, straight_conversation: list[Exchange], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[list[Exchange], list[Exchange]]]:
    """The whole API spoken with a fresh registry, and with one that stands beside another behind a proxy."""
    require("docker-registry")
    folders = [tmp_path_factory.mktemp(name) for name in ("first", "other", "proxy")]
    with ExitStack() as stack:
        first, other = (stack.enter_context(Registry.start(folder)) for folder in folders[:2])
        config = CONFIG.format(first=first.url, other=other.url)
        proxy = stack.enter_context(Proxy.start(folders[2], first.url, config=config))
        named = {"prefix": "far/off"} if request.param == "prefix" else {"namespace": "other.example"}
        through = NamedConversation(proxy.address, **named)
        whole_api(through)
        # What is outside the API cannot have a prefix, and nothing else may have come to the wrong one, but the probe.
        assert {one.target for one in first.requests()} <= {"/", "/nowhere", "/v2/"}
        yield straight_conversation, through.exchanges


def test_every_answer_is_the_registrys_own_but_for_the_prefix(
    conversations: tuple[list[Exchange], list[Exchange]],
) -> None:
    straight, through = conversations
    differing = [
        f"{direct.request}\n  direct:  {direct}\n  through: {named}"
        for direct, named in zip(straight, through, strict=True)
        if direct != named and not is_explained(direct, named) and "ns=example.org" not in direct.request
    ]
    assert not differing, f"{len(differing)} of {len(straight)} differ:\n" + "\n".join(differing[:10])
    assert len(straight) > 330
    assert sum("link" in dict(one.headers) for one in straight) > 6
    assert sum("location" in dict(one.headers) for one in straight) > 30


class Addresses:
    """A registry that says the addresses it is told to, and remembers what it was asked."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.says: Mapping[str, str] = {}

    async def answer(self, request: web.Request) -> web.StreamResponse:
        self.asked.append(request.raw_path)
        return web.Response(headers=self.says)


@contextlib.asynccontextmanager
async def fronted(**settings: str) -> AsyncIterator[tuple[Addresses, str, Addresses, str]]:
    """Yield the default registry, the origin of the other, that, and the origin of the proxy in front of both."""
    first, other = Addresses(), Addresses()
    async with served(first.answer) as one, served(other.answer) as far:
        further = {"name": "other", "url": far, "prefix": "far/off", "namespaces": ["other.example"]}
        tables = json.dumps([{**further, "hosts": ["other.lab"]}])
        async with proxied(one, upstream__name="first", upstreams=tables, **settings) as url:
            yield first, far, other, url


@pytest.mark.parametrize(
    ("said", "by_prefix", "by_ns", "by_host"),
    [
        ("/v2/a/tags/list?n=1", "/v2/far/off/a/tags/list?n=1", "/v2/a/tags/list?n=1&ns=N", "/v2/a/tags/list?n=1"),
        ("UP/v2/a/b?n=1", "US/v2/far/off/a/b?n=1", "US/v2/a/b?n=1&ns=N", "US/v2/a/b?n=1"),
        ("US/v2/a/b?n=1", "US/v2/far/off/a/b?n=1", "US/v2/a/b?n=1&ns=N", "US/v2/a/b?n=1"),
        ("list?n=1&last=x", "list?n=1&last=x", "list?n=1&last=x&ns=N", "list?n=1&last=x"),
        ("/uploads/1?s=%2F", "/twodfs/registry/other/uploads/1?s=%2F", "/uploads/1?s=%2F&ns=N", "/uploads/1?s=%2F"),
        ("UP/uploads/1", "US/twodfs/registry/other/uploads/1", "US/uploads/1?ns=N", "US/uploads/1"),
        *((same, same, same, same) for same in ("https://cdn.example/v2/a", "//cdn.example/v2/a", "mailto:a@b")),
    ],
)
@pytest.mark.parametrize("kind", ["prefix", "ns", "host"])
async def test_addresses_lead_back_to_the_registry_that_said_them(
    said: str, by_prefix: str, by_ns: str, by_host: str, kind: str
) -> None:
    expected = {"prefix": by_prefix, "ns": by_ns, "host": by_host}[kind]
    target = {"prefix": "/v2/far/off/x/tags/list", "ns": "/v2/x/tags/list?ns=other.example", "host": "/v2/x/tags/list"}
    async with fronted() as (first, far, other, url), aiohttp.ClientSession() as session:
        ours = "http://other.lab:5000" if kind == "host" else url
        headers = {"Host": "other.lab:5000"} if kind == "host" else {}
        address = said.replace("UP", far).replace("US", ours)
        other.says = {"Location": address, "Link": f'<{address}>; rel="next", <https://x.example/>; rel="x"'}
        async with session.get(f"{url}{target[kind]}", headers=headers) as answer:
            got = [answer.headers["Location"], answer.headers["Link"]]
        told = expected.replace("US", ours).replace("=N", "=other.example")
        assert got == [told, f'<{told}>; rel="next", <https://x.example/>; rel="x"']
        assert other.asked[-1] == "/v2/x/tags/list"
        if told == address or kind == "host":
            return
        # Whoever follows it asks that registry what it meant, and the other nothing.
        async with session.get(URL(urljoin(f"{url}{target[kind]}", told), encoded=True)):
            meant = urljoin(f"{far}/v2/x/tags/list", said.replace("UP", far).replace("US", far))
            assert f"{far}{other.asked[-1]}" == meant
            assert {*first.asked} <= {"/v2/"}


async def test_a_registry_named_by_its_host_keeps_it_beside_a_public_url() -> None:
    """The public address would be the default registry's."""
    async with fronted(public_url="https://public.example") as (_, far, other, url), aiohttp.ClientSession() as session:
        for host, shown in (("other.lab", "https://other.lab"), ("x", "https://public.example")):
            other.says = {"Location": f"{far}/v2/a"}
            target = "/v2/a/tags/list" if host == "other.lab" else "/v2/far/off/a/tags/list"
            async with session.get(f"{url}{target}", headers={"Host": host}) as answer:
                prefix = "" if host == "other.lab" else "far/off/"
                assert answer.headers["Location"] == f"{shown}/v2/{prefix}a"


async def test_blobs_are_mounted_within_one_registry_and_asked_for_across() -> None:
    """A name of another registry's would be read as one of this."""
    uploads = "a/blobs/uploads/"
    cases = {
        f"/v2/far/off/{uploads}?mount=D&from=far/off/b": ("other", f"/v2/{uploads}?mount=D&from=b"),
        f"/v2/far/off/{uploads}?mount=D&from=far%2Foff%2Fb&x=1": ("other", f"/v2/{uploads}?mount=D&from=b&x=1"),
        f"/v2/far/off/{uploads}?mount=D&from=b": ("other", f"/v2/{uploads}"),
        f"/v2/far/off/{uploads}?from=far/offshore/b&mount=D": ("other", f"/v2/{uploads}"),
        f"/v2/{uploads}?mount=D&from=b": ("first", f"/v2/{uploads}?mount=D&from=b"),
        f"/v2/{uploads}?mount=D&from=far/off/b": ("first", f"/v2/{uploads}"),
        f"/v2/{uploads}?mount=D&from=far/off/b&ns=other.example": ("other", f"/v2/{uploads}?mount=D&from=far/off/b"),
    }
    async with fronted() as (first, _, other, url), aiohttp.ClientSession() as session:
        for target, (name, expected) in cases.items():
            async with session.post(URL(f"{url}{target}", encoded=True), data=b""):
                assert {"first": first, "other": other}[name].asked[-1] == expected, target
