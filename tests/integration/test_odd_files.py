"""Every setting that names a file, given what is none: an error with the path and the rule, at once."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import get_args, get_type_hints

import orjson
import pytest

from proxy.app import running
from proxy.config import ConfigError, load, settings
from proxy.config.upstream import CredentialsConfig
from proxy.preflight import StartError, start_error
from tests.lab.certificates import Authority
from tests.lab.programs import environment
from twodfs.cli.commands.verify import _load
from twodfs.credentials.docker_config import read_config
from twodfs.errors import AuthError, KeyFormatError

BESIDE: dict[str, dict[str, str]] = {
    "upstream.ca_file": {"upstream.url": "https://127.0.0.1:1"},
    "upstream.client_certificate": {"upstream.url": "https://127.0.0.1:1"},
    "upstream.client_key": {"upstream.url": "https://127.0.0.1:1", "upstream.client_certificate": "PAIR"},
    "upstream.credentials.file": {
        "upstream.credentials.kind": "file",
        "auth.clients.allow_anonymous": "true",
    },
    "tls.certificate": {},
    "tls.key": {"tls.certificate": "PAIR"},
    "tls.client_ca": {"tls.certificate": "PAIR", "tls.key": "KEY", "tls.client_certificates": "required"},
    "cache.redis_ca_file": {"cache.redis_url": "rediss://127.0.0.1:1"},
    "cache.redis_certificate": {"cache.redis_url": "rediss+sentinel://127.0.0.1:1/mine"},
    "cache.redis_key": {"cache.redis_url": "rediss+cluster://127.0.0.1:1"},
    "signing.key": {},
    "signing.source_keys": {"signing.require_source_signature": "true"},
    "auth.token.keys": {"auth.token.issuer": "i", "auth.token.audience": "a"},
    "edge.admin_token_file": {"edge.directory": "DIRECTORY", "admin": "127.0.0.1:0"},
    "auth.clients.htpasswd": {
        "upstream.credentials.kind": "static",
        "upstream.credentials.username": "u",
        "upstream.credentials.password": "p",
    },
}


def test_every_setting_that_names_a_file_is_here() -> None:
    named = {
        path
        for path, section in settings().items()
        if "pathlib" in repr(kind := get_type_hints(section)[path.rpartition(".")[2]]) or Path in get_args(kind)
    }
    assert named == {*BESIDE, "edge.directory"}  # which is none
    assert get_type_hints(CredentialsConfig)["file"]


@pytest.fixture(params=["/dev/zero", "fifo", "directory"])
def odd(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Path, str]:
    if request.param == "fifo":
        os.mkfifo(tmp_path / "fifo")
        return tmp_path / "fifo", "it is a pipe, and has to be a regular file"
    if request.param == "directory":
        return tmp_path, "it is a directory, and has to be a regular file"
    return Path(request.param), "it is a device, and has to be a regular file"


@pytest.mark.parametrize("setting", BESIDE)
async def test_a_setting_that_names_no_file_is_an_error_at_the_start(
    setting: str, odd: tuple[Path, str], tmp_path_factory: pytest.TempPathFactory
) -> None:
    path, rule = odd
    pair = Authority(tmp_path_factory.mktemp("ca")).issue("own", "localhost")
    known = {"PAIR": str(pair.certificate), "KEY": str(pair.key), "DIRECTORY": str(tmp_path_factory.mktemp("edge"))}
    given = {"upstream.url": "http://127.0.0.1:1", "listen": "127.0.0.1:0", "admin": "none"}
    given |= {name: known.get(value, value) for name, value in BESIDE[setting].items()}
    given[setting] = str(path)
    with pytest.raises((StartError, ExceptionGroup)) as caught:
        async with running(load(given, {})):
            pass
    sentence = str(start_error(caught.value))
    assert str(path) in sentence
    assert rule in sentence


def test_the_file_of_settings_may_be_a_pipe_but_no_device(odd: tuple[Path, str]) -> None:
    path, rule = odd
    if "pipe" not in rule:
        with pytest.raises(ConfigError, match=rule):
            load({}, {}, path)
    done = subprocess.run(
        [sys.executable, "-m", "proxy", "--config", "/dev/stdin", "--check-config"],
        input=b'upstream = "http://from.a.pipe"\n',
        capture_output=True,
        env=environment(),
        cwd=Path(__file__).parents[2],
        check=True,
    )
    assert orjson.loads(done.stdout)["upstream"]["url"] == "http://from.a.pipe"


def test_dockers_file_that_is_none_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
    file = tmp_path / "config.json"
    odd: dict[str, Callable[[], object]] = {
        "a pipe": lambda: os.mkfifo(file),
        "a device": lambda: file.symlink_to("/dev/zero"),
        "a directory": file.mkdir,
    }
    for kind, make in odd.items():
        make()
        with pytest.raises(AuthError, match=f"{file}: it is {kind}"):
            read_config()
        file.rmdir() if file.is_dir() else file.unlink()
    assert read_config() is None


def test_a_key_to_verify_with_that_is_none_is_an_error(tmp_path: Path) -> None:
    for path, rule in (
        (Path("/dev/zero"), "a device"),
        (tmp_path, "a directory"),
        (tmp_path / "none", "No such"),
    ):
        with pytest.raises(KeyFormatError, match=rule):
            _load(path)
