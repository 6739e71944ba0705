import json
import stat
from base64 import b64encode
from pathlib import Path
from typing import Any

import pytest

from twodfs.credentials.credentials import Credentials
from twodfs.credentials.login import erase_credentials, store_credentials
from twodfs.credentials.lookup import find_credentials
from twodfs.errors import AuthError

ANN = Credentials("ann", "p:w")
KEEPER = """#!/bin/sh
case "$1" in
    store) cat > "$HELPER_FILE" ;;
    get) test -s "$HELPER_FILE" && cat "$HELPER_FILE" || { echo credentials not found; exit 1; } ;;
    erase) cat > "$HELPER_FILE.erased"; rm "$HELPER_FILE" || { echo credentials not found; exit 1; } ;;
esac
"""


@pytest.fixture
def docker_config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path / "docker"))
    return tmp_path / "docker" / "config.json"


@pytest.fixture
def helper(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    program = tmp_path / "docker-credential-lab"
    program.write_text(KEEPER)
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    monkeypatch.setenv("HELPER_FILE", str(tmp_path / "kept"))
    return tmp_path / "kept"


def write(path: Path, **content: Any) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(content))


def read(path: Path) -> Any:
    return json.loads(path.read_bytes())


def test_what_is_stored_is_found_and_readable_by_its_owner_alone(docker_config: Path) -> None:
    assert store_credentials("ghcr.io", ANN) == str(docker_config)
    assert find_credentials("ghcr.io") == ANN
    assert read(docker_config) == {"auths": {"ghcr.io": {"auth": b64encode(b"ann:p:w").decode()}}}
    assert stat.S_IMODE(docker_config.stat().st_mode) == 0o600
    assert [one.name for one in docker_config.parent.iterdir()] == ["config.json"]


def test_all_else_in_the_file_stays(docker_config: Path) -> None:
    write(docker_config, auths={"a.io": {"auth": "YTpi"}}, proxies={"x": 1}, HttpHeaders={"k": "v"})
    store_credentials("ghcr.io", ANN)
    content = read(docker_config)
    assert list(content) == ["auths", "proxies", "HttpHeaders"]
    assert list(content["auths"]) == ["a.io", "ghcr.io"]
    assert erase_credentials("ghcr.io")
    assert read(docker_config)["auths"] == {"a.io": {"auth": "YTpi"}}


def test_a_registry_has_one_entry_however_it_was_spelled(docker_config: Path) -> None:
    write(docker_config, auths={"https://ghcr.io": {"auth": "YTpi"}, "ghcr.io/v2/": {"auth": "YTpi"}})
    store_credentials("ghcr.io", ANN)
    assert list(read(docker_config)["auths"]) == ["ghcr.io"]
    assert find_credentials("ghcr.io") == ANN


def test_docker_hub_has_the_name_that_docker_gives_it(docker_config: Path) -> None:
    store_credentials("docker.io", ANN)
    assert list(read(docker_config)["auths"]) == ["https://index.docker.io/v1/"]
    assert erase_credentials("docker.io")


@pytest.mark.parametrize("setting", [{"credsStore": "lab"}, {"credHelpers": {"ghcr.io": "lab"}}])
def test_a_helper_keeps_the_secret_where_one_is_set_up(
    docker_config: Path, helper: Path, setting: dict[str, Any]
) -> None:
    write(docker_config, auths={"ghcr.io": {"auth": "YTpi"}}, **setting)
    assert store_credentials("ghcr.io", ANN) == "docker-credential-lab"
    assert read(helper) == {"ServerURL": "ghcr.io", "Username": "ann", "Secret": "p:w"}
    assert read(docker_config) == {"auths": {"ghcr.io": {}}, **setting}
    assert find_credentials("ghcr.io") == ANN
    assert erase_credentials("ghcr.io")
    assert helper.with_name("kept.erased").read_text() == "ghcr.io"
    assert find_credentials("ghcr.io") is None
    assert not erase_credentials("ghcr.io")


def test_what_a_helper_alone_knows_is_forgotten_and_was_known(docker_config: Path, helper: Path) -> None:
    write(docker_config, credHelpers={"ghcr.io": "lab"})
    helper.write_text(json.dumps({"ServerURL": "ghcr.io", "Username": "ann", "Secret": "p:w"}))
    assert erase_credentials("ghcr.io")
    assert not helper.exists()
    assert not erase_credentials("ghcr.io")
    assert read(docker_config) == {"credHelpers": {"ghcr.io": "lab"}}


def test_a_helper_for_another_registry_is_left_alone(docker_config: Path, helper: Path) -> None:
    write(docker_config, credHelpers={"gcr.io": "lab"})
    store_credentials("ghcr.io", ANN)
    assert not helper.exists()
    assert find_credentials("ghcr.io") == ANN


def test_a_failing_helper_leaves_the_file_as_it_was(docker_config: Path) -> None:
    write(docker_config, credsStore="not-installed-anywhere")
    with pytest.raises(AuthError, match="not on the PATH"):
        store_credentials("ghcr.io", ANN)
    assert read(docker_config) == {"credsStore": "not-installed-anywhere"}


def test_a_link_to_the_file_stays_a_link(docker_config: Path, tmp_path: Path) -> None:
    docker_config.parent.mkdir()
    docker_config.symlink_to(tmp_path / "dotfiles.json")
    store_credentials("ghcr.io", ANN)
    assert docker_config.is_symlink()
    assert find_credentials("ghcr.io") == ANN


def test_a_damaged_file_is_not_written_over(docker_config: Path) -> None:
    docker_config.parent.mkdir()
    docker_config.write_text("{")
    with pytest.raises(AuthError, match=r"config\.json: not JSON"):
        store_credentials("ghcr.io", ANN)
    assert docker_config.read_text() == "{"


def test_forgetting_what_was_never_known_writes_nothing(docker_config: Path) -> None:
    assert not erase_credentials("ghcr.io")
    assert not docker_config.exists()
