"""`twodfs login` and `logout` against registries that ask who one is."""

import json
import os
import pty
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.lab.images import push_image
from tests.lab.programs import program
from tests.lab.registry import Registry
from tests.lab.token_server import LOGIN, token_server
from tests.lab.workshop import SOURCE, Done, Workshop

USER, PASSWORD = LOGIN


@pytest.fixture
def locked(workshop: Workshop, tmp_path: Path) -> Iterator[Workshop]:
    (tmp_path / "locked").mkdir()
    with Registry.start(tmp_path / "locked", htpasswd=dict([LOGIN])) as registry:
        push_image(registry.url, "lab/locked", "v1", credentials=LOGIN)
        yield Workshop(workshop.directory, workshop.store, registry)


def login(workshop: Workshop, password: str, *options: str) -> Done:
    arguments = ("login", workshop.registry.address, "--username", USER, "--password-stdin", *options)
    return workshop.twodfs(*arguments, typed=f"{password}\n")


def config(workshop: Workshop) -> Path:
    return workshop.directory / "no-docker" / "config.json"


def test_a_login_is_good_for_every_command_and_for_other_tools(locked: Workshop) -> None:
    target = locked.target("lab/mine")
    refused = locked.twodfs("build", "scratch", target, "--push")
    assert f"run 'twodfs login {locked.registry.address}' first" in refused.err
    done = login(locked, PASSWORD)
    assert done.status == 0, done.err
    assert done.out == f"logged in to {locked.registry.address} as {USER}; kept in {config(locked)}\n"
    locked.made("build", f"{locked.registry.address}/lab/locked:v1", target, "--push")
    argv = [program("skopeo"), "inspect", "--raw", "--tls-verify=false", "--authfile", str(config(locked))]
    subprocess.run([*argv, f"docker://{target}"], check=True, capture_output=True)
    assert locked.made("logout", locked.registry.address, "--json").json["removed"] is True
    assert locked.twodfs("push", target).status == 1
    assert "not logged in" in locked.made("logout", locked.registry.address).out


def test_a_wrong_password_is_refused_and_not_kept(locked: Workshop) -> None:
    done = login(locked, "wrong")
    assert (done.status, done.out) == (1, "")
    assert done.err == f"twodfs: {locked.registry.address} refuses this username and password\n"
    assert not config(locked).exists()


@pytest.mark.parametrize(("password", "status"), [(PASSWORD, 0), ("wrong", 1)])
def test_a_token_server_is_asked_as_well(workshop: Workshop, tmp_path: Path, password: str, status: int) -> None:
    (tmp_path / "tokens").mkdir()
    with (
        token_server(tmp_path) as tokens,
        Registry.start(tmp_path / "tokens", extra_config=tokens.registry_config()) as registry,
    ):
        done = login(Workshop(workshop.directory, workshop.store, registry), password, "--json")
    assert done.status == status, done.err
    assert config(workshop).exists() == (status == 0)
    assert PASSWORD not in done.out + done.err


def test_a_registry_that_lets_anyone_in_checks_nothing_and_that_is_said(workshop: Workshop) -> None:
    assert "lets anyone in, so nobody checked the password" in login(workshop, "any").out
    assert login(workshop, "any", "--json").json["checked"] is False


def test_on_a_terminal_the_password_is_asked_for_and_not_shown(locked: Workshop) -> None:
    here, there = pty.openpty()
    environment = {**os.environ, "PYTHONPATH": str(SOURCE), "DOCKER_CONFIG": str(config(locked).parent)}
    with subprocess.Popen(
        [sys.executable, "-m", "twodfs", "login", locked.registry.address],
        stdin=there,
        stdout=there,
        stderr=there,
        env=environment,
        start_new_session=True,
    ) as running:
        os.close(there)
        shown = b""
        # The space comes once the echo is off; what was typed before is thrown away.
        for question, answer in ((b"Username: ", USER), (b"Password: ", PASSWORD)):
            while question not in shown:
                shown += os.read(here, 1024)
            os.write(here, f"{answer}\n".encode())
        while b"logged in" not in shown:
            shown += os.read(here, 1024)
    os.close(here)
    assert running.returncode == 0
    assert PASSWORD.encode() not in shown
    assert list(json.loads(config(locked).read_bytes())["auths"]) == [locked.registry.address]


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("login", "ghcr.io", "-u", "ann"), "there is no terminal to ask on; --password-stdin"),
        (("login", "ghcr.io", "--password-stdin"), "--password-stdin takes --username as well"),
        (("login", "ghcr.io", "-u", "a:b", "--password-stdin"), "a username without a colon"),
        (("login", "nohost", "-u", "ann", "--password-stdin"), "'nohost' is no registry; expected host"),
        (("logout", "a b"), "'a b' is no registry; expected host"),
    ],
)
def test_mistakes_are_said_in_a_line(workshop: Workshop, arguments: tuple[str, ...], sentence: str) -> None:
    done = workshop.twodfs(*arguments, typed="word\n")
    assert (done.status, done.out) == (2, "")
    assert sentence in done.err
