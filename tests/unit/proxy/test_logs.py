import io
import os
import random
import sys
from datetime import datetime

import orjson
import pytest

from proxy import stderr
from proxy.config import LogConfig
from proxy.logs import AccessLine, bind_key_id, bind_request_id, bind_user, redacted

SECRET = "s3cret"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (f"GET /v2/x?_state={SECRET}&digest=sha256:1", "GET /v2/x?_state=***&digest=sha256:1"),
        (f"https://h/token?account={SECRET}&service=s", "https://h/token?account=***&service=s"),
        (f"?refresh_token={SECRET}&Access_Token={SECRET}", "?refresh_token=***&Access_Token=***"),
        (f"?X-Amz-Signature={SECRET}&X-Amz-Date=1", "?X-Amz-Signature=***&X-Amz-Date=1"),
        (f"?api_key={SECRET}&key={SECRET}&keys=2", "?api_key=***&key=***&keys=2"),
        (f"http://user:{SECRET}@host/path", "http://***@host/path"),
        (f"Authorization: Bearer {SECRET}.x-y", "Authorization: Bearer ***"),
        (f"{{'authorization': 'basic {SECRET}=='}}", "{'authorization': 'basic ***'}"),
        (
            "the registry at http://127.0.0.1:5001 broke off",
            "the registry at http://127.0.0.1:5001 broke off",
        ),
        ("/v2/a/manifests/v1--0.0.1.2?n=5&last=b", "/v2/a/manifests/v1--0.0.1.2?n=5&last=b"),
    ],
)
def test_what_could_be_a_secret_is_not_shown(text: str, shown: str) -> None:
    assert redacted(text) == shown


def written(monkeypatch: pytest.MonkeyPatch, config: LogConfig, **more: object) -> list[dict[str, object]]:
    stream = io.TextIOWrapper(io.BytesIO())
    monkeypatch.setattr(sys, "stderr", stream)
    request = {
        "kind": "blob",
        "method": "GET",
        "path": "/v2/",
        "status": 200,
        "seconds": 0.0015,
        "remote": "::1",
    }
    AccessLine(config).write(**(request | more))  # type: ignore[arg-type]
    assert isinstance(stream.buffer, io.BytesIO)
    return [orjson.loads(line) for line in stream.buffer.getvalue().splitlines()]


def test_an_access_line_is_json_with_the_id_of_its_request(monkeypatch: pytest.MonkeyPatch) -> None:
    bind_request_id("mine")
    (line,) = written(monkeypatch, LogConfig())
    assert datetime.fromisoformat(str(line.pop("timestamp"))).tzinfo is not None
    assert line == {
        "event": "request",
        "kind": "blob",
        "level": "info",
        "method": "GET",
        "milliseconds": 1.5,
        "path": "/v2/",
        "remote": "::1",
        "bytes": 0,
        "request_id": "mine",
        "status": 200,
    }


def test_the_level_holds_for_access_lines_too(monkeypatch: pytest.MonkeyPatch) -> None:
    assert not written(monkeypatch, LogConfig(level="warning"))
    (line,) = written(monkeypatch, LogConfig(level="warning"), status=502)
    assert line["level"] == "warning"


@pytest.mark.parametrize(
    ("more", "is_written"),
    [({}, False), ({"status": 404}, True), ({"status": 499}, True), ({"kind": "manifest"}, True)],
)
def test_blobs_that_went_well_are_sampled(
    monkeypatch: pytest.MonkeyPatch, more: dict[str, object], *, is_written: bool
) -> None:
    config = LogConfig(blob_sample=0.25)
    monkeypatch.setattr(random, "random", lambda: 0.25)
    assert bool(written(monkeypatch, config, **more)) is is_written
    monkeypatch.setattr(random, "random", lambda: 0.2499)
    assert len(written(monkeypatch, config, **more)) == 1


@pytest.mark.parametrize("offered", [None, "", "a b", "x" * 129, "ü"])
def test_a_request_id_that_is_not_sane_is_replaced(offered: str | None) -> None:
    made = bind_request_id(offered)
    assert made != offered
    assert len(made) == 32


def test_a_line_that_was_torn_is_ended_before_the_next_one(monkeypatch: pytest.MonkeyPatch) -> None:
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    with open(reading, "rb", buffering=0) as reader, open(writing, "w") as stream:  # noqa: PTH123 - descriptors
        monkeypatch.setattr(sys, "stderr", stream)
        access = AccessLine(LogConfig())

        def write(path: str) -> None:
            access.write(kind="other", method="GET", path=path, status=200, seconds=0, remote=None)

        write("/" + "long" * 2**20)  # more than a pipe holds
        write("/dropped")
        stderr.flush(30)
        torn = reader.read(2**20)
        write("/next")
        stderr.flush(30)
        _, line, end = (torn + reader.read(2**20)).split(b"\n")
    assert orjson.loads(line)["path"] == "/next"
    assert end == b""


def test_a_line_tells_clients_apart_without_their_credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    bind_user("ann")
    bind_key_id(bytes(range(32)))
    try:
        (line,) = written(monkeypatch, LogConfig(), sent=7, agent="crane/0.20")
    finally:
        bind_user(None)
        bind_key_id(None)
    assert (line["bytes"], line["user_agent"], line["user"]) == (7, "crane/0.20", "ann")
    assert line["key_id"] == "000102030405", "six of thirty-two bytes"
    (line,) = written(monkeypatch, LogConfig())
    assert not {"user", "key_id", "user_agent"} & set(line)


@pytest.mark.parametrize(
    ("agent", "shown"),
    [
        ("a\nb\x1b[31m", "a\\u000ab\\u001b[31m"),
        ("x" * 5000, "x" * 200),
        ("odd \u202e", "odd \\u202e"),
        ("odd \udcff", "odd \\udcff"),
        (f"tool Bearer {SECRET} https://u:{SECRET}@h", "tool Bearer *** https://***@h"),
    ],
)
def test_what_a_client_calls_itself_is_bounded_and_harmless(
    monkeypatch: pytest.MonkeyPatch, agent: str, shown: str
) -> None:
    (line,) = written(monkeypatch, LogConfig(), agent=agent)
    assert line["user_agent"] == shown
