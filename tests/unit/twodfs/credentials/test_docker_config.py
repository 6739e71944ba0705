import json
from base64 import b64encode
from pathlib import Path

import pytest

from twodfs.credentials.credentials import Credentials
from twodfs.credentials.docker_config import DockerConfig, HelperLookup
from twodfs.credentials.docker_helper import parse_helper_answer
from twodfs.credentials.login import store_credentials
from twodfs.credentials.lookup import find_credentials
from twodfs.errors import AuthError, BuildError, FormatError
from twodfs.storage.store import default_directory

ANN = b64encode(b"ann:p:w").decode()


def config(**content: object) -> DockerConfig:
    return DockerConfig.parse(json.dumps(content).encode())


@pytest.fixture
def docker_config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
    return tmp_path / "config.json"


def install_helper(directory: Path, monkeypatch: pytest.MonkeyPatch, script: str) -> None:
    helper = directory / "docker-credential-lab"
    helper.write_text(f"#!/bin/sh\n{script}\n")
    helper.chmod(0o755)
    monkeypatch.setenv("PATH", str(directory), prepend=":")


@pytest.mark.parametrize(
    ("key", "registry"),
    [
        ("ghcr.io", "ghcr.io"),
        ("https://ghcr.io", "ghcr.io"),
        ("https://ghcr.io/v2/", "ghcr.io"),
        ("localhost:5000", "localhost:5000"),
        ("https://index.docker.io/v1/", "docker.io"),
        ("docker.io", "docker.io"),
        ("GHCR.io", "ghcr.io"),
    ],
)
def test_a_login_is_found_under_every_spelling_of_its_registry(key: str, registry: str) -> None:
    assert config(auths={key: {"auth": ANN}}).lookup(registry) == Credentials("ann", "p:w")


@pytest.mark.parametrize("registry", ["ghcr.io:443", "evil.ghcr.io", "ghcr.io.evil"])
def test_a_login_is_for_its_own_registry_alone(registry: str) -> None:
    assert config(auths={"ghcr.io": {"auth": ANN}, "x/team": {"auth": ANN}}).lookup(registry) is None


def test_every_form_of_an_entry_is_read() -> None:
    entries = config(
        auths={
            "a.io": {"username": "ann", "password": "pw"},
            "b.io": {"auth": b64encode(b"<token>:").decode(), "identitytoken": "it"},
            "c.io": {"registrytoken": "rt"},
            "d.io": {},
        }
    )
    assert entries.lookup("a.io") == Credentials("ann", "pw")
    assert entries.lookup("b.io") == Credentials("<token>", "", identity_token="it")
    assert entries.lookup("c.io") == Credentials(registry_token="rt")
    assert entries.lookup("d.io") is None


def test_a_registrys_own_helper_goes_first_and_the_common_store_last() -> None:
    entries = config(
        auths={"a.io": {"auth": ANN}, "b.io": {"auth": ANN}}, credHelpers={"a.io": "own"}, credsStore="all"
    )
    assert entries.lookup("a.io") == HelperLookup("docker-credential-own", "a.io")
    assert entries.lookup("b.io") == Credentials("ann", "p:w")
    assert entries.lookup("c.io") == HelperLookup("docker-credential-all", "c.io")
    assert entries.lookup("docker.io") == HelperLookup("docker-credential-all", "https://index.docker.io/v1/")


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ({"auths": []}, "expected an object, found list in 'auths'"),
        ({"auths": {"a.io": {"auth": "s3cret"}}}, "expected base64 of user:password in 'auths[a.io].auth'"),
        ({"auths": {"a.io": {"password": 7}}}, "expected a string, found int in 'auths[a.io].password'"),
        (
            {"credHelpers": {"a.io": "../evil"}},
            "'../evil' cannot be part of a program's name in 'credHelpers[a.io]'",
        ),
    ],
)
def test_a_malformed_configuration_says_where_and_shows_no_secret(content: dict[str, object], sentence: str) -> None:
    with pytest.raises(FormatError) as failed:
        config(**content)
    assert str(failed.value) == sentence


def test_a_helper_answers_with_a_login_or_an_identity_token() -> None:
    login = b'{"ServerURL": "a.io", "Username": "ann", "Secret": "pw"}'
    assert parse_helper_answer(login) == Credentials("ann", "pw")
    token = b'{"ServerURL": "a.io", "Username": "<token>", "Secret": "it"}'
    assert parse_helper_answer(token) == Credentials(identity_token="it")


def test_no_configuration_means_no_credentials(docker_config: Path) -> None:
    assert not docker_config.exists()
    assert find_credentials("ghcr.io") is None


def test_credentials_come_from_the_file(docker_config: Path) -> None:
    docker_config.write_text(json.dumps({"auths": {"ghcr.io": {"auth": ANN}}}))
    assert find_credentials("ghcr.io") == Credentials("ann", "p:w")


def test_a_damaged_file_is_named(docker_config: Path) -> None:
    docker_config.write_text("{")
    with pytest.raises(AuthError, match=r"config\.json: not JSON"):
        find_credentials("ghcr.io")


def test_a_helper_is_asked_for_the_registry(
    docker_config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    docker_config.write_text('{"credsStore": "lab"}')
    answer = r'printf "{\"Username\": \"$1\", \"Secret\": \"%s\"}" "$(cat)"'
    install_helper(tmp_path, monkeypatch, answer)
    assert find_credentials("ghcr.io") == Credentials("get", "ghcr.io")


def test_a_helper_that_knows_nothing_leaves_us_anonymous(
    docker_config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    docker_config.write_text('{"credsStore": "lab"}')
    install_helper(tmp_path, monkeypatch, "echo credentials not found in native keychain; exit 1")
    assert find_credentials("ghcr.io") is None


@pytest.mark.parametrize(
    ("script", "sentence"),
    [("exit 3", "failed with status 3"), ("echo nonsense", "printed no credentials")],
)
def test_a_broken_helper_is_named(
    docker_config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str, sentence: str
) -> None:
    docker_config.write_text('{"credHelpers": {"ghcr.io": "lab"}}')
    install_helper(tmp_path, monkeypatch, script)
    with pytest.raises(AuthError, match=f"docker-credential-lab {sentence}"):
        find_credentials("ghcr.io")


def test_a_helper_that_writes_for_ever_is_ended(
    docker_config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    docker_config.write_text('{"credsStore": "lab"}')
    install_helper(tmp_path, monkeypatch, "exec yes")
    with pytest.raises(AuthError, match="docker-credential-lab was ended at 'get': it printed more than"):
        find_credentials("ghcr.io")


def test_a_user_without_a_home_has_no_logins_and_can_keep_none(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("DOCKER_CONFIG", "HOME", "TWODFS_STORE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)

    def unknown(uid: int) -> None:
        raise KeyError(uid)

    monkeypatch.setattr("pwd.getpwuid", unknown)
    assert find_credentials("ghcr.io") is None
    with pytest.raises(AuthError, match="no home directory to keep logins in; DOCKER_CONFIG names one"):
        store_credentials("ghcr.io", Credentials("ann", "pw"))
    with pytest.raises(BuildError, match="no home directory for the store; TWODFS_STORE names one"):
        default_directory()


def test_a_missing_helper_is_named(docker_config: Path) -> None:
    docker_config.write_text('{"credsStore": "not-installed-anywhere"}')
    with pytest.raises(AuthError, match="docker-credential-not-installed-anywhere, which is not on the PATH"):
        find_credentials("ghcr.io")
