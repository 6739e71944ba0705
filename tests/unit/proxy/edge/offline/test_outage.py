"""What counts as the registry's answer, and what as none."""

import pytest
from multidict import CIMultiDict, CIMultiDictProxy

from proxy.edge.offline.outage import is_failing, is_foreign, is_page, is_refusal, pause_before_retry
from proxy.upstream.replies import Reply

OCI = b'{"errors":[{"code":"MANIFEST_UNKNOWN","message":"unknown"}]}'
PAGE = b"<html>Be right back</html>"


def reply(status: int, body: bytes = b"", **headers: str) -> Reply:
    given = {name.replace("_", "-"): value for name, value in headers.items()}
    return Reply(status, "", CIMultiDictProxy(CIMultiDict(given)), body)


@pytest.mark.parametrize("status", [500, 502, 503, 504, 429])
def test_a_registry_that_fails_or_has_no_time_gives_no_answer(status: int) -> None:
    assert is_failing(reply(status))


@pytest.mark.parametrize("status", [200, 304, 401, 403, 404])
def test_a_no_is_an_answer(status: int) -> None:
    assert not is_failing(reply(status))


@pytest.mark.parametrize("status", [404, 410])
def test_only_errors_in_ocis_form_say_that_something_is_gone(status: int) -> None:
    assert not is_foreign(reply(status, OCI))
    for body in (PAGE, b"", b"{}", b'{"errors":[]}', b'{"errors":[{"status":404}]}', b'["errors"]', b'{"errors":7}'):
        assert is_foreign(reply(status, body))


def test_a_page_in_the_place_of_a_document_is_no_answer() -> None:
    assert is_foreign(reply(200, PAGE, Content_Type="text/html; charset=utf-8"))
    assert not is_foreign(reply(200, b"{}", Content_Type="application/vnd.oci.image.index.v1+json"))
    # Some registries give manifests a type of their own, but their digest all the same.
    assert not is_foreign(reply(200, b"{}", Content_Type="text/plain", Docker_Content_Digest="sha256:1"))


def test_the_greeting_has_no_form_but_is_no_page() -> None:
    assert not is_page(reply(200), is_root=True)
    assert is_page(reply(200, Content_Type="text/html"), is_root=True)


def test_a_refusal_is_the_registrys_when_it_speaks_like_one() -> None:
    assert is_refusal(reply(401, WWW_Authenticate='Basic realm="r"'))
    assert is_refusal(reply(403, b'{"errors":[{"code":"DENIED"}]}'))
    assert not is_refusal(reply(403, PAGE))
    assert not is_refusal(reply(401, PAGE))
    assert not is_refusal(reply(404, OCI))


def test_a_registry_that_wants_to_be_left_alone_for_long_is_not_asked_again() -> None:
    assert pause_before_retry(reply(429)) == 0.5
    assert pause_before_retry(reply(429, Retry_After="1")) == 1
    assert pause_before_retry(reply(429, Retry_After="3")) is None
    assert pause_before_retry(reply(429, Retry_After="Wed, 21 Oct 2026 07:28:00 GMT")) is None
