import asyncio
import contextlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import orjson
import pytest

from proxy.confinement import field_body
from proxy.confinement.field_body import MOST_HERE, FieldBody
from twodfs.errors import DigestError, FormatError
from twodfs.field.field import Field
from twodfs.oci.digest import digest_of

CHUNK = 256 * 1024


def field_json(count: int, **last: object) -> bytes:
    cells = [
        {"row": 0, "col": at, "digest": f"{at:064x}", "diffid": f"{at:064x}", "size": at + 1} for at in range(count)
    ]
    cells[-1] |= last
    return orjson.dumps({"rows": [{"allotments": cells, "allotments_size": count}]})


SMALL = field_json(3000)
LARGE = field_json(30_000)


async def parse(body: bytes, *, one_large: asyncio.Lock | None = None, digest_from: bytes = b"") -> Field:
    with FieldBody(digest_of(digest_from or body), one_large or asyncio.Lock()) as taken:
        for at in range(0, len(body), CHUNK):
            await taken.take(body[at : at + CHUNK])
        return await taken.parse()


@pytest.mark.parametrize("body", [SMALL, LARGE])
async def test_a_field_is_the_same_wherever_it_is_parsed(body: bytes) -> None:
    assert (len(body) > MOST_HERE) == (body is LARGE)
    assert await parse(body) == Field.parse(body)


@pytest.mark.parametrize("count", [3000, 30_000])
async def test_a_malformed_field_is_named_by_its_path(count: int) -> None:
    with pytest.raises(FormatError) as failed:
        await parse(field_json(count, row=-1))
    assert str(failed.value) == f"-1 is outside 0..2147483647 in 'rows[0].allotments[{count - 1}].row'"


@pytest.mark.parametrize("body", [SMALL, LARGE])
async def test_other_bytes_than_those_of_the_digest_are_not_parsed(body: bytes) -> None:
    with pytest.raises(DigestError):
        await parse(body, digest_from=b"others")


async def test_others_are_served_while_a_small_field_is_parsed() -> None:
    turns = 0

    async def others() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    async with asyncio.TaskGroup() as tasks:
        busy = tasks.create_task(others())
        await parse(SMALL)
        busy.cancel()
    assert turns > 5


async def test_large_fields_are_taken_one_at_a_time() -> None:
    lock = asyncio.Lock()
    with FieldBody(digest_of(b""), lock) as first:
        await first.take(bytes(MOST_HERE + 1))
        async with asyncio.TaskGroup() as tasks:
            second = tasks.create_task(parse(LARGE, one_large=lock))
            assert await parse(SMALL, one_large=lock) == Field.parse(SMALL)  # the small do not wait
            assert not second.done()
            first.__exit__(None, None, None)
        lock_is_free = not lock.locked()
        assert second.result().count == 30_000
        assert lock_is_free
        await lock.acquire()


@contextlib.contextmanager
def only(name: str, value: float, patch: pytest.MonkeyPatch) -> Iterator[None]:
    with patch.context() as patched:
        patched.setattr(field_body, name, value)
        yield


async def test_a_parser_that_takes_too_long_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    with only("PARSE_SECONDS", 0.01, monkeypatch), pytest.raises(FormatError, match=r"longer than 0\.01 s"):
        await parse(LARGE)


async def test_a_parser_that_takes_too_much_memory_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    unusual_order = orjson.dumps({"more": [{}] * 3_000_000, **orjson.loads(LARGE)})
    assert (await parse(unusual_order)).count == 30_000
    with (
        only("_MEMORY", 200 * 2**20, monkeypatch),
        only("_MEMORY_A_BYTE", 0, monkeypatch),
        pytest.raises(FormatError, match="memory"),
    ):
        await parse(unusual_order)


async def test_who_goes_away_takes_the_parser_along(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    parser, pid = tmp_path / "parser", tmp_path / "pid"
    parser.write_text(f"#!/bin/sh\necho $$ > {pid}.new\nmv {pid}.new {pid}\nexec sleep 60\n")
    parser.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(parser))
    lock = asyncio.Lock()
    async with asyncio.timeout(30), asyncio.TaskGroup() as tasks:
        running = tasks.create_task(parse(LARGE, one_large=lock))
        while not pid.exists():  # noqa: ASYNC110 - another process makes it
            await asyncio.sleep(0.01)
        running.cancel()
    assert running.cancelled()
    assert not lock.locked()
    with pytest.raises(ProcessLookupError):
        os.kill(int(pid.read_text()), 0)
