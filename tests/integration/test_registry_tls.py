"""`twodfs` and a registry on this machine that speaks TLS, without being told that it does."""

import contextlib
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.lab.certificates import Authority
from tests.lab.registry import Registry
from tests.lab.talking import NAME, WHOLE, Talk, certificate, opened, saying, talking
from tests.lab.workshop import Workshop, write_model
from twodfs.errors import RegistryError
from twodfs.registry.session import open_registry


@pytest.fixture(scope="module")
def encrypted(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Registry, Path]]:
    """A stock registry over TLS, and whom to trust for that."""
    directory = tmp_path_factory.mktemp("encrypted")
    authority = Authority(directory)
    pair = authority.issue("registry", "127.0.0.1")
    tls = {"certificate": str(pair.certificate), "key": str(pair.key)}
    with Registry.start(directory, extra_config={"http": {"tls": tls}}) as registry:
        yield registry, authority.bundle


def test_a_registry_on_this_machine_that_speaks_tls_is_spoken_to_in_tls(
    encrypted: tuple[Registry, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    registry, bundle = encrypted
    write_model(tmp_path / "model")
    workshop = Workshop(tmp_path / "model", tmp_path / "store", registry)
    target = workshop.target("made/encrypted")
    untrusted = workshop.twodfs("build", "scratch", target, "--push")
    assert (untrusted.status, "the registry's certificate is not trusted: " in untrusted.err) == (1, True)
    assert f"/etc/docker/certs.d/{registry.address} has one" in untrusted.err
    monkeypatch.setenv("SSL_CERT_FILE", str(bundle))
    pushed = workshop.made("build", "scratch", target, "--push", "--json").json
    assert pushed["pushed"]["uploadedBlobs"] > 3
    found = workshop.made("inspect", target, "--json", store=tmp_path / "empty").json
    assert found["digest"] == pushed["digest"]
    plain = workshop.twodfs("inspect", target, "--plain-http", store=tmp_path / "empty")
    assert (plain.status, " 400" in plain.err) == (1, True)


@pytest.mark.parametrize("manner", ["closed", "alert"])
def test_whatever_a_tls_server_makes_of_plain_http_it_is_asked_again_in_tls(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, manner: str
) -> None:
    context = certificate(tmp_path)
    monkeypatch.setattr("twodfs.wire.pool.CERTIFICATES", tmp_path / "certs.d")

    def answer(first: socket.socket) -> None:
        first.recv(1000)
        first.sendall(b"\x15\x03\x01\x00\x02\x02\x46" if manner == "alert" else b"")

    def encrypting(talk: Talk) -> Talk:
        def talked(connection: socket.socket) -> None:
            with context.wrap_socket(connection, server_side=True) as wrapped:
                talk(wrapped)

        return talked

    def probed(connection: socket.socket) -> None:
        with contextlib.suppress(ConnectionResetError):  # where tickets were sent that nobody read
            connection.recv(1)

    talks = (answer, encrypting(probed), encrypting(saying(WHOLE)))
    with talking(*talks) as address, opened(address, plain_http=False) as repository:
        trusted = tmp_path / "certs.d" / address
        trusted.mkdir(parents=True)
        (trusted / "ca.crt").write_bytes((tmp_path / "trusted-ca.pem").read_bytes())
        assert repository.blob(NAME, limit=7) == b"content"


def test_what_speaks_plain_http_is_never_asked_in_tls_after_its_first_answer() -> None:
    broken = saying(WHOLE, b"nonsense\r\n\r\n")
    with talking(broken) as address, opened(address, plain_http=False) as repository:
        assert repository.blob(NAME, limit=7) == b"content"
        with pytest.raises(RegistryError, match="the answer is no HTTP"):
            repository.blob(NAME, limit=7)


def test_what_speaks_neither_says_what_it_said() -> None:
    def hang_up(connection: socket.socket) -> None:
        connection.recv(1024)  # the beginning of a TLS handshake

    with (
        talking(saying(b"nonsense\r\n\r\n"), hang_up) as address,
        opened(address, plain_http=False) as repository,
        pytest.raises(RegistryError, match="the answer is no HTTP"),
    ):
        repository.blob(NAME, limit=7)


def test_tls_and_whom_to_trust_can_be_said_to_every_command(encrypted: tuple[Registry, Path], tmp_path: Path) -> None:
    registry, bundle = encrypted
    write_model(tmp_path / "model")
    workshop = Workshop(tmp_path / "model", tmp_path / "store", registry)
    target, said = workshop.target("made/said"), ("--tls", "--ca-file", str(bundle))
    before = len(registry.log.read_text(errors="replace").split("client sent an HTTP request"))
    workshop.made("build", "scratch", target, *said)
    workshop.made("push", target, *said)
    for command in ("inspect", "doctor", "anchor"):
        workshop.made(command, target, *said, store=tmp_path / "empty")
    workshop.made("export", target, str(tmp_path / "x.tar"), *said, store=tmp_path / "empty")
    workshop.made("build", target.replace("said", "none"), target, "--base-tls", "--help")
    login = workshop.twodfs("login", registry.address, "-u", "ann", "--password-stdin", *said, typed="pw")
    assert (login.status, "lets anyone in" in login.out) == (0, True)
    key = Path(__file__).parents[1] / "nobody.pub"
    assert "nobody.pub" in workshop.twodfs("verify", target, "--key", str(key), *said).err
    # Nobody has tried plain HTTP first.
    assert len(registry.log.read_text(errors="replace").split("client sent an HTTP request")) == before


@pytest.mark.parametrize("kind", ["missing", "empty", "both"])
def test_what_cannot_be_trusted_or_spoken_is_a_mistake_of_the_command_line(
    encrypted: tuple[Registry, Path], tmp_path: Path, kind: str
) -> None:
    workshop = Workshop(tmp_path, tmp_path / "store", encrypted[0])
    (tmp_path / "empty.pem").touch()
    options, sentence = {
        "missing": (("--ca-file", "missing.pem"), "--ca-file: missing.pem: cannot be read"),
        "empty": (("--ca-file", "empty.pem"), "--ca-file: empty.pem holds no certificate"),
        "both": (("--tls", "--plain-http"), "not both"),
    }[kind]
    done = workshop.twodfs("inspect", workshop.target("any"), *options)
    assert (done.status, sentence in done.err) == (2, True)


def test_a_client_certificate_of_dockers_certs_d_is_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    authority = Authority(tmp_path)
    pair, client = authority.issue("registry", "127.0.0.1"), authority.issue("client", "ann")
    monkeypatch.setattr("twodfs.wire.pool.CERTIFICATES", tmp_path / "certs.d")
    tls = {"certificate": str(pair.certificate), "key": str(pair.key), "clientcas": [str(authority.bundle)]}
    with Registry.start(tmp_path, extra_config={"http": {"tls": tls}}) as registry:
        trusted = tmp_path / "certs.d" / registry.address
        trusted.mkdir(parents=True)
        (trusted / "ca.crt").write_bytes(authority.bundle.read_bytes())

        def asked() -> bool:
            with open_registry(registry.address, tls=True, keychain=lambda _registry: None) as opened:
                return opened.check_login()

        with pytest.raises(RegistryError, match="wants a client certificate"):
            asked()
        (trusted / "client.cert").write_bytes(client.certificate.read_bytes())
        with pytest.raises(RegistryError, match=r"client\.cert with the key beside it cannot be used: No such"):
            asked()
        (trusted / "client.key").write_bytes(client.key.read_bytes())
        assert asked() is False
