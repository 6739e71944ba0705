import pytest
from aiohttp import StreamReader

from proxy.bodies import rehearsal
from proxy.bodies.transit import Bodies


@pytest.mark.parametrize(
    ("relay", "obstacle", "spliced"),
    [("auto", None, True), ("auto", "no splice here", False), ("buffered", None, False)],
)
async def test_bodies_are_spliced_where_that_is_wanted_and_possible(
    monkeypatch: pytest.MonkeyPatch, relay: str, obstacle: str | None, *, spliced: bool
) -> None:
    async def answer(*, has_files: bool) -> str | None:  # noqa: ARG001 - asked for either
        return obstacle

    monkeypatch.setattr(rehearsal, "obstacle", answer)
    content = StreamReader(None, 2**16)  # type: ignore[arg-type] # nothing is read from it
    async with Bodies.open(relay) as bodies:
        with bodies.pipe_for(content, 2**20) as pipe:
            assert (pipe is not None) == spliced
        with bodies.pipe_for(content, 2**10) as pipe:
            assert pipe is None
