"""Whose tokens are, and what tokens of the node's own are good for."""

import base64
import contextlib
import json
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from proxy.auth.identity import Identity
from proxy.edge.disk.state import State
from proxy.edge.rights.acceptances import Acceptances
from proxy.edge.rights.tokens import OWN_SECONDS, EdgeTokens, form_identity
from proxy.repository import DEFAULT_UPSTREAM, Repository

MODEL, OTHER = (Repository(DEFAULT_UPSTREAM, name) for name in ("team/model", "team/other"))
ANN, BOB, NOBODY = form_identity("ann", "s3cret"), form_identity("bob", "hunter2"), Identity.of({})


class Worker:
    """The tokens of one process of a node."""

    def __init__(self, tokens: EdgeTokens, acceptances: Acceptances) -> None:
        self.tokens, self.acceptances = tokens, acceptances


@contextlib.asynccontextmanager
async def worker(directory: Path, secret: bytes = b"secret") -> AsyncIterator[Worker]:
    async with State.open(directory / "state.sqlite", ()) as state:
        acceptances = await Acceptances.open(state, secret, good_for=3600)
        yield Worker(await EdgeTokens.open(state, secret, acceptances), acceptances)


def bearer(token: str | None) -> Identity:
    assert token is not None
    return Identity.of({"Authorization": f"Bearer {token}"})


def test_a_form_and_a_header_show_the_same_credentials() -> None:
    assert Identity.of({"Authorization": f"Basic {base64.b64encode(b'ann:s3cret').decode()}"}) == ANN


async def test_the_registrys_yes_to_a_token_is_one_to_the_credentials_behind_it(tmp_path: Path) -> None:
    async with worker(tmp_path) as here, worker(tmp_path) as there:
        await here.tokens.relayed("t1", ANN, good_for=60)
        assert await there.tokens.issue(ANN, [MODEL]) is None
        await there.tokens.accepted(bearer("t1"), MODEL)
        assert await here.tokens.issue(ANN, [MODEL])
        assert await here.tokens.issue(BOB, [MODEL]) is None
        assert await here.tokens.issue(NOBODY, [MODEL]) is None
        assert await here.tokens.issue(ANN, [OTHER]) is None
        await here.tokens.accepted(bearer("unknown"), OTHER)
        await here.tokens.accepted(ANN, OTHER)
        assert await here.tokens.issue(ANN, [OTHER]) is None  # no token: it counts where it is kept as it is


async def test_a_token_of_the_nodes_own_is_for_what_was_accepted_and_asked_for(tmp_path: Path) -> None:
    async with worker(tmp_path) as here, worker(tmp_path) as there:
        await here.acceptances.accepted(ANN, MODEL)
        own = bearer(await here.tokens.issue(ANN, [MODEL, OTHER]))
        assert there.tokens.allow(own, MODEL)
        assert not there.tokens.allow(own, OTHER)
        with_more = Identity.of({**{str(name): value for name, value in own.headers.items()}, "Cookie": "a=b"})
        assert not there.tokens.allow(with_more, MODEL)


async def test_a_token_of_the_nodes_own_ends_soon(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with worker(tmp_path) as here:
        await here.acceptances.accepted(ANN, MODEL)
        own = bearer(await here.tokens.issue(ANN, [MODEL]))
        now = time.time()
        for later, allowed in ((OWN_SECONDS - 1, True), (OWN_SECONDS + 1, False), (-60, False)):
            monkeypatch.setattr("proxy.edge.rights.tokens.time.time", lambda at=now + later: at)
            assert here.tokens.allow(own, MODEL) is allowed


async def test_nobody_else_can_make_one(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    async with worker(tmp_path) as here, worker(tmp_path / "elsewhere", b"another secret") as elsewhere:
        await here.acceptances.accepted(ANN, MODEL)
        await elsewhere.acceptances.accepted(ANN, MODEL)
        own = await here.tokens.issue(ANN, [MODEL])
        assert own is not None
        prefix, payload, seal = own.split(".")
        content = json.loads(base64.urlsafe_b64decode(payload))
        forged = base64.urlsafe_b64encode(json.dumps(content | {"until": content["until"] + 1}).encode()).decode()
        foreign = await elsewhere.tokens.issue(ANN, [MODEL])
        for bad in (f"{prefix}.{forged}.{seal}", f"{prefix}.{payload}.", f"{prefix}..", prefix, "", "é.é.é", foreign):
            assert not here.tokens.allow(bearer(bad), MODEL)
        assert not here.tokens.allow(Identity.of({"Authorization": f"Basic {own}"}), MODEL)
        assert not here.tokens.allow(NOBODY, MODEL)


async def test_a_refused_token_ends_the_right_unless_it_was_only_old(tmp_path: Path) -> None:
    async with worker(tmp_path) as here:
        await here.tokens.relayed("fresh", ANN, good_for=60)
        await here.tokens.relayed("old", ANN, good_for=-1)
        await here.tokens.accepted(bearer("fresh"), MODEL)
        await here.tokens.refused(bearer("old"), MODEL)
        await here.tokens.refused(bearer(await here.tokens.issue(ANN, [MODEL])), MODEL)
        assert await here.tokens.issue(ANN, [MODEL])
        await here.tokens.refused(bearer("fresh"), MODEL)
        assert await here.tokens.issue(ANN, [MODEL]) is None


async def test_bytes_that_are_no_text_are_no_seal(tmp_path: Path) -> None:
    async with worker(tmp_path) as here:
        assert not here.tokens.allow(bearer("twodfs-offline.e30.\udcff"), MODEL)
