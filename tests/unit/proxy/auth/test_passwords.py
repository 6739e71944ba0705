import asyncio
import contextlib
from collections.abc import Awaitable
from pathlib import Path

import bcrypt
import pytest

from proxy import watched
from proxy.auth.passwords import _NOBODYS, Passwords, parse_htpasswd
from proxy.clients.limits import TooManyRequestsError
from proxy.watched import FileError


def line(user: str, password: str, prefix: bytes = b"$2b$") -> str:
    hashed = bcrypt.hashpw(password.encode()[:72], bcrypt.gensalt(4))
    return f"{user}:{hashed.replace(b'$2b$', prefix).decode()}\n"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "htpasswd"
    path.write_text("# people\n\n" + line("ann", "s3cret", b"$2y$") + line("bob", "x" * 100) + line("zoë", "ü"))
    return path


@pytest.mark.parametrize(
    ("user", "password", "right"),
    [
        ("ann", "s3cret", True),
        ("zoë", "ü", True),
        ("bob", "x" * 100, True),
        ("ann", "S3cret", False),
        ("ann", "", False),
        ("ann", "s3cret\0", False),
        ("bob", "s3cret", False),
        ("nobody", "s3cret", False),
        ("", "", False),
    ],
)
async def test_the_right_password_of_the_right_user(file: Path, user: str, password: str, *, right: bool) -> None:
    passwords = Passwords(file)
    assert [await passwords.are_right(user, password, "here") for _ in range(2)] == [right, right]


async def test_a_change_of_the_file_counts_at_once(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watched, "_LOOK_EVERY", 0.0)
    passwords = Passwords(file)
    assert await passwords.are_right("ann", "s3cret", "here")
    write(file, line("ann", "another"))
    assert not await passwords.are_right("ann", "s3cret", "here")
    assert await passwords.are_right("ann", "another", "here")


async def test_a_broken_file_leaves_the_one_before_in_force(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watched, "_LOOK_EVERY", 0.0)
    passwords = Passwords(file)
    write(file, "ann:plain\n")
    assert await passwords.are_right("ann", "s3cret", "here")
    write(file, None)
    assert await passwords.are_right("ann", "s3cret", "here")


async def test_a_mounted_secret_that_is_swapped_is_read(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watched, "_LOOK_EVERY", 0.0)
    mounted, other = file.with_name("mounted"), file.with_name("other")
    mount(mounted, file)
    passwords = Passwords(mounted)
    write(other, line("ann", "rotated"))
    mount(mounted, other)
    assert await passwords.are_right("ann", "rotated", "here")


def write(file: Path, content: str | None) -> None:
    if content is None:
        file.unlink()
    else:
        file.write_text(content)


def mount(link: Path, target: Path) -> None:
    """Swap a link as Kubernetes does when a mounted secret changes."""
    fresh = link.with_name("fresh")
    fresh.symlink_to(target)
    fresh.replace(link)


async def test_too_many_log_ins_at_a_time_are_turned_away(file: Path) -> None:
    passwords = Passwords(file)
    results = await asyncio.gather(
        *(passwords.are_right("nobody", str(number), "here") for number in range(70)), return_exceptions=True
    )
    assert sum(isinstance(one, TooManyRequestsError) for one in results) == 52
    assert results.count(False) == 18


async def test_who_guesses_passwords_keeps_nobody_else_out(file: Path) -> None:
    passwords = Passwords(file)

    async with asyncio.TaskGroup() as tasks:
        for number in range(70):
            tasks.create_task(contained(passwords.are_right("nobody", str(number), "guesser")))
        await asyncio.sleep(0)
        assert await passwords.are_right("ann", "s3cret", "another")


async def contained(log_in: Awaitable[bool]) -> None:
    with contextlib.suppress(TooManyRequestsError):
        await log_in


def test_the_hash_of_nobody_is_one() -> None:
    assert parse_htpasswd(b"x:" + _NOBODYS) == {"x": _NOBODYS}
    assert not bcrypt.checkpw(b"", _NOBODYS)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("ann:{SHA}abc\n", "line 1 is not user:hash with bcrypt"),
        ("ann:$apr1$abc$def\n", "line 1 is not"),
        ("\nann\n", "line 2 is not"),
        ("ann:$2b$31$" + "x" * 53, "line 1 has a bcrypt cost above 15"),
    ],
)
def test_other_files_are_refused_by_line(tmp_path: Path, content: str, said: str) -> None:
    path = tmp_path / "htpasswd"
    path.write_text(content)
    with pytest.raises(FileError) as refused:
        Passwords(path)
    assert said in str(refused.value)
    assert "abc" not in str(refused.value)
