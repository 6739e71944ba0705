"""HTTP/1.1 as `twodfs.registry` speaks it, with servers that are no more than a socket and what they say."""

import os
import socket
from pathlib import Path
from threading import Event
from threading import enumerate as enumerate_threads

import pytest

from tests.lab.talking import NAME, WHOLE, certificate, heard, opened, saying, talking
from twodfs.concurrency import concurrently
from twodfs.errors import DigestError, RegistryError
from twodfs.oci.digest import digest_of
from twodfs.oci.documents import OCI_LAYER, Descriptor
from twodfs.registry.session import Retries

AGAIN = Retries(attempts=2, first_delay=0, longest_delay=0)
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"


@pytest.mark.parametrize(
    "answer",
    [
        WHOLE,
        b"HTTP/1.1 100 Continue\r\n\r\n" + WHOLE,
        b"HTTP/1.1 200\r\nContent-Length: 7, 7\r\n\r\ncontent",
        b"HTTP/1.1 200 OK\ncontent-length:7\n\ncontent",
        CHUNKED + b"3;a=b\r\ncon\r\n4\r\ntent\r\n0\r\nTrailer: x\r\n\r\n",
        b"HTTP/1.0 200 OK\r\n\r\ncontent",
    ],
)
def test_every_way_to_frame_an_answer_is_read(answer: bytes) -> None:
    with talking(saying(answer)) as address, opened(address) as repository:
        assert repository.blob(NAME, limit=7) == b"content"


@pytest.mark.parametrize(
    ("answer", "sentence"),
    [
        (b"", "the connection broke"),
        (b"SSH-2.0-OpenSSH_9\r\n", "the answer is no HTTP"),
        (b"HTTP/1.1 200 OK\r\n broken: x\r\n\r\n", "malformed header"),
        (b"HTTP/1.1 200 OK\r\nX: " + b"x" * 20_000, "a line of more than 16384 bytes"),
        (b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 300, "more than 200 headers"),
        (b"HTTP/1.1 102 Wait\r\n\r\n" * 20, "never ends to announce itself"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\ncontent", "in the middle of an answer"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 7, 8\r\n\r\ncontent", "no one length"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: +7\r\n\r\ncontent", "no one length"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: " + b"9" * 5000 + b"\r\n\r\ncontent", "no one length"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n", "a transfer coding"),
        (CHUNKED + b"-7\r\ncontent", "a chunk of it has no size"),
        (
            CHUNKED + b"7\r\ncontents\r\n",
            "a chunk of it has no end",
        ),
    ],
)
def test_what_is_no_answer_is_an_error_that_says_why(answer: bytes, sentence: str) -> None:
    with (
        talking(saying(answer)) as address,
        opened(address) as repository,
        pytest.raises(RegistryError, match=sentence),
    ):
        repository.blob(NAME, limit=100)


def test_a_connection_is_kept_and_left_when_the_other_side_ends_it() -> None:
    ended = Event()

    def first(connection: socket.socket) -> None:
        saying(WHOLE, WHOLE)(connection)
        connection.shutdown(socket.SHUT_RDWR)
        ended.set()

    with talking(first, saying(WHOLE)) as address, opened(address) as repository:
        repository.blob(NAME, limit=7)
        repository.blob(NAME, limit=7)
        assert ended.wait(30)
        assert repository.blob(NAME, limit=7) == b"content"


def test_a_kept_connection_that_ends_under_a_request_is_replaced() -> None:
    def first(connection: socket.socket) -> None:
        saying(WHOLE)(connection)
        heard(connection)

    with talking(first, saying(WHOLE)) as address, opened(address) as repository:
        repository.blob(NAME, limit=7)
        assert repository.blob(NAME, limit=7) == b"content"


def test_a_new_connection_that_ends_under_a_request_is_not_replaced_in_silence() -> None:
    with (
        talking(heard) as address,
        opened(address) as repository,
        pytest.raises(RegistryError, match="closed without an answer"),
    ):
        repository.blob(NAME, limit=7)


def test_an_answer_that_comes_before_the_end_of_an_upload_is_heard(tmp_path: Path) -> None:
    (tmp_path / "blob").touch()
    os.truncate(tmp_path / "blob", 200_000_000)
    blob = Descriptor(OCI_LAYER, NAME, 200_000_000, {})
    over = Event()

    def talk(connection: socket.socket) -> None:
        heard(connection)
        connection.sendall(b"HTTP/1.1 202 Accepted\r\nLocation: /up\r\nContent-Length: 0\r\n\r\n")
        heard(connection)
        connection.sendall(b"HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\n\r\n")
        for _ in range(2_000):
            if over.is_set() or not connection.recv(1_000_000):
                return

    with talking(talk) as address, opened(address) as repository:
        with pytest.raises(RegistryError) as failed:
            repository.upload(blob, tmp_path / "blob")
        over.set()
    assert failed.value.status == 413


@pytest.mark.parametrize("content", [b"cOntent", b"conten", b"contents"])
def test_the_end_of_a_damaged_blob_is_held_back(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "blob").write_bytes(content)
    bodies: list[bytes] = []

    def talk(connection: socket.socket) -> None:
        heard(connection)
        connection.sendall(b"HTTP/1.1 202 Accepted\r\nLocation: /up\r\nContent-Length: 0\r\n\r\n")
        heard(connection)
        bodies.append(connection.recv(100))

    with talking(talk) as address, opened(address) as repository, pytest.raises(DigestError):
        repository.upload(Descriptor(OCI_LAYER, NAME, 7, {}), tmp_path / "blob", verify=True)
    assert len(bodies[0]) < 7


@pytest.mark.parametrize("head", [b"401 Unauthorized", b"200 OK\r\nTransfer-Encoding: chunked"])
def test_a_size_that_head_does_not_tell_is_asked_of_a_range(head: bytes) -> None:
    answers = (
        b"HTTP/1.1 " + head + b"\r\n\r\n",
        b"HTTP/1.1 206 Partial Content\r\nContent-Range: bytes 0-0/12345\r\nContent-Length: 1\r\n\r\nx",
    )
    with talking(*map(saying, answers)) as address, opened(address) as repository:
        assert repository.size(NAME) == 12345


def test_a_registry_that_knows_no_ranges_tells_the_size_all_the_same() -> None:
    answers = (
        b"HTTP/1.1 405 No\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 12345678\r\n\r\nx",
    )
    with talking(*map(saying, answers)) as address, opened(address) as repository:
        assert repository.size(NAME) == 12345678


def test_the_first_failure_wakes_those_that_wait_for_an_answer() -> None:
    before = enumerate_threads()
    waiting, over = Event(), Event()

    def never(connection: socket.socket) -> None:
        heard(connection)
        waiting.set()
        over.wait(30)

    def fail() -> None:
        assert waiting.wait(30)
        raise DigestError("first")

    with talking(never) as address, opened(address, AGAIN) as repository:

        def ask() -> None:
            repository.blob(NAME, limit=7)

        with pytest.raises(DigestError, match="first"):
            concurrently([ask, fail], limit=2)
        assert [one for one in enumerate_threads() if one.daemon and one not in before] == []
        over.set()


@pytest.fixture
def over_tls(monkeypatch: pytest.MonkeyPatch) -> None:
    # This machine's own registries are spoken to without; here one stands for those that are elsewhere.
    monkeypatch.setattr("twodfs.registry.transport.is_loopback", lambda _registry: False)


@pytest.mark.usefixtures("over_tls")
def test_tls_trusts_whom_the_system_trusts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    context = certificate(tmp_path)
    content = os.urandom(3_000_000)
    (tmp_path / "blob").write_bytes(content)
    bodies: list[bytes] = []

    def talk(connection: socket.socket) -> None:
        heard(connection)
        connection.sendall(b"HTTP/1.1 202 Accepted\r\nLocation: /up\r\nContent-Length: 0\r\n\r\n")
        heard(connection)
        body = b""
        while len(body) < len(content):
            body += connection.recv(1_000_000)
        bodies.append(body)
        connection.sendall(b"HTTP/1.1 201 Created\r\nContent-Length: 0\r\n\r\n")

    blob = Descriptor(OCI_LAYER, digest_of(content), len(content), {})
    with talking(talk, context=context) as address, opened(address, plain_http=False) as repository:
        monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "trusted-ca.pem"))
        assert repository.upload(blob, tmp_path / "blob")
    assert bodies == [content]


@pytest.mark.usefixtures("over_tls")
def test_tls_trusts_nobody_else(tmp_path: Path) -> None:
    with (
        talking(saying(WHOLE), context=certificate(tmp_path)) as address,
        opened(address, plain_http=False) as repository,
        pytest.raises(RegistryError, match=r"certificate is not trusted: self.signed") as failed,
    ):
        repository.blob(NAME, limit=7)
    assert not failed.value.temporary


@pytest.mark.usefixtures("over_tls")
def test_a_registry_without_tls_says_how_to_speak_to_it() -> None:
    def talk(connection: socket.socket) -> None:
        connection.recv(1000)
        connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")

    with (
        talking(talk) as address,
        opened(address, plain_http=False) as repository,
        pytest.raises(RegistryError, match="takes --plain-http"),
    ):
        repository.blob(NAME, limit=7)


def through(monkeypatch: pytest.MonkeyPatch, name: str, url: str) -> None:
    for one in ("http_proxy", "https_proxy", "no_proxy", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY"):
        monkeypatch.delenv(one, raising=False)
    monkeypatch.setenv(name, url)


def test_the_proxy_of_the_environment_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[bytes] = []

    def talk(connection: socket.socket) -> None:
        asked.append(heard(connection))
        connection.sendall(WHOLE)

    with talking(talk) as address:
        through(monkeypatch, "http_proxy", f"http://ann:s3%3Acret@{address}")
        with opened("registry.example.com") as repository:
            assert repository.blob(NAME, limit=7) == b"content"
    lines = asked[0].decode().splitlines()
    assert lines[0] == f"GET http://registry.example.com/v2/a/blobs/{NAME} HTTP/1.1"
    assert "Host: registry.example.com" in lines
    assert "Proxy-Authorization: Basic YW5uOnMzOmNyZXQ=" in lines


def test_tls_goes_through_a_tunnel(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[bytes] = []

    def talk(connection: socket.socket) -> None:
        asked.append(heard(connection))
        connection.sendall(b"HTTP/1.1 403 Forbidden\r\n\r\n")

    with talking(talk) as address:
        through(monkeypatch, "https_proxy", address)
        with (
            opened("registry.example.com:8443", plain_http=False) as repository,
            pytest.raises(RegistryError, match=r"the proxy refuses the way to .*:8443: 403 Forbidden"),
        ):
            repository.blob(NAME, limit=7)
    assert asked[0].startswith(b"CONNECT registry.example.com:8443 HTTP/1.1\r\n")


def test_no_proxy_is_for_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    with talking(saying(WHOLE)) as address:
        through(monkeypatch, "http_proxy", "http://127.0.0.1:1")
        with opened(address) as repository:
            assert repository.blob(NAME, limit=7) == b"content"
