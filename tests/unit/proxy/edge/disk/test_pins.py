"""Images that stay."""

import time
from pathlib import Path

from proxy.edge.disk.pins import Pin
from proxy.repository import DEFAULT_UPSTREAM, Repository
from tests.lab.edge import opened_store
from twodfs.oci.digest import digest_of

MODEL, OTHER = Repository(DEFAULT_UPSTREAM, "library/model"), Repository("up", "library/model")
FIRST, SECOND, BESIDE = (digest_of(name) for name in (b"first", b"second", b"beside"))


async def test_pins_outlive_a_restart_and_are_replaced_by_reference(tmp_path: Path) -> None:
    before = time.time()
    async with opened_store(tmp_path) as store:
        assert await store.pins.all() == ()
        await store.pins.pin(MODEL, "v1", FIRST, also=[BESIDE, BESIDE])
        await store.pins.pin(MODEL, "v1", SECOND)
        await store.pins.pin(OTHER, "v1", FIRST)
    async with opened_store(tmp_path) as store:
        pins = await store.pins.all()
        assert [(pin.repository, pin.reference, pin.digest) for pin in pins] == [
            ("library/model", "v1", SECOND),
            ("up!library/model", "v1", FIRST),
        ]
        assert all(isinstance(pin, Pin) and before <= pin.at <= time.time() for pin in pins)
        assert await store.pins.pinned() == {FIRST, SECOND}
        assert await store.pins.unpin(MODEL, "v1")
        assert not await store.pins.unpin(MODEL, "v1")
        assert await store.pins.pinned() == {FIRST}
