"""Small facts, shared by processes and put aside where they are damaged."""

import asyncio
import os
import random
import sqlite3
from pathlib import Path

import pytest

from proxy.edge.disk.state import State, connected

TABLES = ("CREATE TABLE IF NOT EXISTS facts (name TEXT PRIMARY KEY, value BLOB)",)


def add(connection: sqlite3.Connection, name: str, value: bytes = b"") -> None:
    connection.execute("INSERT INTO facts VALUES (?, ?)", (name, value))


def names(connection: sqlite3.Connection) -> list[str]:
    return [name for (name,) in connection.execute("SELECT name FROM facts ORDER BY name").fetchall()]


async def test_what_one_process_writes_the_others_read(tmp_path: Path) -> None:
    async with State.open(tmp_path / "state", TABLES) as one, State.open(tmp_path / "state", TABLES) as other:
        await one.run(lambda c: add(c, "a"))
        assert await other.read(names) == ["a"]
        assert await other.remember(lambda c: add(c, "b"))
        assert await one.run(names) == ["a", "b"]


async def test_work_that_fails_is_undone_and_what_is_only_remembered_raises_nothing(tmp_path: Path) -> None:
    def twice(connection: sqlite3.Connection) -> None:
        add(connection, "a")
        add(connection, "a")

    async with State.open(tmp_path / "state", TABLES) as state:
        with pytest.raises(sqlite3.IntegrityError):
            await state.run(twice)
        assert not await state.remember(twice)
        assert await state.read(names) == []


async def test_readers_do_not_write_and_do_not_wait_for_a_writer(tmp_path: Path) -> None:
    async with State.open(tmp_path / "state", TABLES) as state:
        with pytest.raises(sqlite3.OperationalError, match="readonly"):
            await state.read(lambda c: add(c, "a"))
        writer = connected(tmp_path / "state", ())
        try:
            writer.execute("BEGIN IMMEDIATE")
            add(writer, "b")
            async with asyncio.timeout(5):
                assert await state.read(names) == []
            writer.commit()
        finally:
            writer.close()
        assert await state.read(names) == ["b"]


async def test_processes_that_read_and_write_at_once_wait_for_each_other(tmp_path: Path) -> None:
    async with State.open(tmp_path / "state", TABLES) as one, State.open(tmp_path / "state", TABLES) as other:

        def read_and_write(connection: sqlite3.Connection) -> None:
            add(connection, str(len(names(connection)) + random.random()))

        await asyncio.gather(*[state.run(read_and_write) for _ in range(50) for state in (one, other)])
        assert len(await one.read(names)) == 100


def garbage(path: Path) -> None:
    path.write_bytes(b"no database" * 1000)


def holes(path: Path) -> None:
    """Damage pages that an open alone does not look at."""
    size = path.stat().st_size
    with path.open("r+b") as file:
        file.seek(2 * 4096)
        file.write(os.urandom(size - 2 * 4096))


async def filled(path: Path) -> None:
    async with State.open(path, TABLES) as state:
        for number in range(100):
            await state.run(lambda c, number=number: add(c, str(number), b"x" * 1000))  # type: ignore[misc]


async def test_a_damaged_file_is_put_aside_once_and_begun_anew(tmp_path: Path) -> None:
    path = tmp_path / "state"
    await filled(path)
    garbage(path)
    damaged = path.read_bytes()
    async with State.open(path, TABLES) as one, State.open(path, TABLES) as other:
        await one.run(lambda c: add(c, "a"))
        assert await other.read(names) == ["a"]
    assert path.with_name("state.damaged").read_bytes() == damaged
    async with State.open(path, TABLES) as state:
        assert await state.read(names) == ["a"]


async def test_damage_that_is_found_later_costs_one_question(tmp_path: Path) -> None:
    path = tmp_path / "state"
    await filled(path)
    holes(path)
    async with State.open(path, TABLES) as one, State.open(path, TABLES) as other:
        await one.add("CREATE TABLE IF NOT EXISTS more (name TEXT)")
        with pytest.raises(sqlite3.DatabaseError):
            await one.read(values)
        assert await one.read(values) == 0
        # Other threads and processes had the damaged file open, too.
        await other.run(lambda c: add(c, "a"))
        assert await one.run(names) == await one.read(names) == await other.read(names) == ["a"]
        await one.run(lambda c: c.execute("INSERT INTO more VALUES ('b')"))
    assert path.with_name("state.damaged").exists()
    async with State.open(path, TABLES) as state:
        assert await state.read(names) == ["a"]


def values(connection: sqlite3.Connection) -> int:
    (size,) = connection.execute("SELECT coalesce(sum(length(value)), 0) FROM facts").fetchone()
    return int(size)


async def test_a_file_that_somebody_deletes_is_begun_anew(tmp_path: Path) -> None:
    async with State.open(tmp_path / "state", TABLES) as one, State.open(tmp_path / "state", TABLES) as other:
        await one.run(lambda c: add(c, "a"))
        for suffix in ("", "-wal", "-shm"):
            (tmp_path / f"state{suffix}").unlink()
        await one.run(lambda c: add(c, "b"))
        assert await one.read(names) == await other.read(names) == ["b"]


async def test_a_file_that_is_not_ours_to_write_is_told_and_not_put_aside(tmp_path: Path) -> None:
    path = tmp_path / "state"
    path.mkdir()
    with pytest.raises(sqlite3.OperationalError):
        async with State.open(path, TABLES):
            pass
    assert path.is_dir()


async def test_a_large_question_needs_no_file_outside_the_directory(tmp_path: Path) -> None:
    def open_files(connection: sqlite3.Connection) -> set[str]:
        large = connection.execute(
            "WITH RECURSIVE n (i) AS (SELECT 1 UNION SELECT i + 1 FROM n WHERE i < 100000) "
            "SELECT i || hex(zeroblob(40)) FROM n ORDER BY 1"
        )
        large.fetchone()
        return {str(link.readlink()) for link in Path("/proc/self/fd").iterdir() if link.is_symlink()}

    async with State.open(tmp_path / "state", TABLES) as state:
        for ask in (state.read, state.run):
            assert not [path for path in await ask(open_files) if "etilqs" in path]
