import pytest
from aiohttp import StreamReader

from proxy.bodies import socket_handoff
from proxy.bodies.transit import Bodies


async def test_this_aiohttp_lends_its_sockets() -> None:
    assert socket_handoff.obstacle() is None


async def test_an_aiohttp_without_what_is_needed_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(socket_handoff._NEEDED, StreamReader, ("read_nowait", "gone"))
    assert socket_handoff.obstacle() == "this version of aiohttp has no StreamReader.gone"


async def test_an_aiohttp_whose_parser_is_made_otherwise_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    def parser(*_: object, **__: object) -> None:
        raise TypeError("unexpected keyword argument")

    monkeypatch.setattr(socket_handoff, "HttpRequestParser", parser)
    assert socket_handoff.obstacle() == "this version of aiohttp is unknown: unexpected keyword argument"


@pytest.mark.parametrize(
    ("relay", "obstacle", "spliced"),
    [("auto", None, True), ("auto", "no splice here", False), ("buffered", None, False)],
)
async def test_bodies_are_spliced_where_that_is_wanted_and_possible(
    monkeypatch: pytest.MonkeyPatch, relay: str, obstacle: str | None, *, spliced: bool
) -> None:
    monkeypatch.setattr(socket_handoff, "obstacle", lambda: obstacle)
    content = StreamReader(None, 2**16)  # type: ignore[arg-type] # nothing is read from it
    with Bodies.open(relay) as bodies, bodies.pipe_for(content, 2**20) as pipe:
        assert (pipe is not None) == spliced
    with Bodies.open(relay) as bodies, bodies.pipe_for(content, 2**10) as pipe:
        assert pipe is None
