"""What went wrong, as answers."""

import json
from typing import Any

import pytest
from aiohttp.test_utils import make_mocked_request
from multidict import CIMultiDict, CIMultiDictProxy

from proxy.auth.access_control import DeniedError
from proxy.clients.addresses import ClientAddresses
from proxy.clients.hops import LoopError
from proxy.clients.limits import TooManyRequestsError
from proxy.confinement.apart import EndedError
from proxy.handlers.errors import explain
from proxy.handlers.exchange import Answer, WholeBody
from proxy.handlers.headers import LocationRewriter
from proxy.handlers.relay import BodyError, BodyTooLongError
from proxy.partitions.lookalikes import ComputedTagError, UnknownPartitionError
from proxy.partitions.policy import UnsignedError
from proxy.requests.grammar import GrammarError, TargetError
from proxy.upstream.replies import RefusedError, Reply, UpstreamError
from twodfs.errors import FormatError, NothingSelectedError, PartitionError, TooLargeError, TooManyLayersError

LOCATIONS = LocationRewriter(["http://registry.example:5000"], ClientAddresses(public_url="https://us.example"))


def explained(error: Exception, method: str = "GET", **more: Any) -> Answer:
    http: Any = make_mocked_request(method, "/v2/", **more)
    return explain(error, LOCATIONS, http)


def body_of(answer: Answer) -> bytes:
    assert isinstance(answer.body, WholeBody)
    return bytes(answer.body.content)


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (UpstreamError("no answer"), 502, "UNAVAILABLE"),
        (UpstreamError("no answer in time", status=504), 504, "UNAVAILABLE"),
        (UpstreamError("not for us", status=403), 403, "DENIED"),
        (UpstreamError("a part is missing", status=404), 404, "MANIFEST_UNKNOWN"),
        (UpstreamError("too much", status=413), 413, "SIZE_INVALID"),
        (UnsignedError("no signature"), 403, "DENIED"),
        (ComputedTagError("push to another tag"), 405, "UNSUPPORTED"),
        (NothingSelectedError("nothing there"), 404, "MANIFEST_UNKNOWN"),
        (UnknownPartitionError("none called so"), 404, "MANIFEST_UNKNOWN"),
        (TooManyLayersError("too many"), 400, "MANIFEST_INVALID"),
        (PartitionError("at most 128"), 400, "TAG_INVALID"),
        (GrammarError("NAME_INVALID", "no name"), 400, "NAME_INVALID"),
        (LoopError("came back"), 508, "UNKNOWN"),
        (TooManyRequestsError("try again"), 429, "TOOMANYREQUESTS"),
        (BodyTooLongError("5 bytes"), 413, "SIZE_INVALID"),
        (TargetError("no path"), 400, "UNSUPPORTED"),
        (BodyError("no framing"), 400, "UNSUPPORTED"),
        (EndedError("ended"), 503, "UNAVAILABLE"),
        (TooLargeError("too large"), 400, "MANIFEST_INVALID"),
        (FormatError("not so"), 400, "MANIFEST_INVALID"),
    ],
)
def test_an_error_is_a_document_that_says_what_is_wrong(error: Exception, status: int, code: str) -> None:
    answer = explained(error)
    [said] = json.loads(body_of(answer))["errors"]
    assert (answer.status, said["code"]) == (status, code)
    assert str(error) in said["message"]
    assert int(answer.headers["Content-Length"]) == len(body_of(answer))
    assert not answer.is_relayed
    assert answer.ends_connection is isinstance(error, BodyError | BodyTooLongError)


def test_a_defect_is_logged_and_tells_nothing_of_itself(capsys: pytest.CaptureFixture[str]) -> None:
    answer = explained(RuntimeError("secret"))
    assert answer.status == 500
    assert b"secret" not in body_of(answer)
    assert "request failed" in capsys.readouterr().out


def test_some_errors_say_more_in_headers() -> None:
    assert explained(TooManyRequestsError("try again")).headers["Retry-After"] == "1"
    assert explained(ComputedTagError("computed")).headers["Allow"] == "GET, HEAD"
    denied = explained(DeniedError(401, "UNAUTHORIZED", "log in", [("WWW-Authenticate", "Basic")]))
    assert (denied.status, denied.headers["WWW-Authenticate"]) == (401, "Basic")
    assert denied.headers["Docker-Distribution-Api-Version"] == "registry/2.0"


@pytest.mark.parametrize(("method", "length"), [("GET", "2"), ("HEAD", "9")])
def test_a_refusal_of_the_registry_is_told_in_its_own_words(method: str, length: str) -> None:
    headers = CIMultiDict({"Content-Length": "9", "Location": "http://registry.example:5000/x", "Connection": "x"})
    reply = Reply(418, "Teapot", CIMultiDictProxy(headers), b"no")
    answer = explained(RefusedError(reply), method)
    assert (answer.status, answer.reason, body_of(answer)) == (418, "Teapot", b"no")
    assert answer.headers == {"Content-Length": length, "Location": "https://us.example/x"}
