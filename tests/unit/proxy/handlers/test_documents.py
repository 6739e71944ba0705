"""Documents of ours as answers."""

from aiohttp import web
from aiohttp.test_utils import make_mocked_request

from proxy.handlers.documents import blob, manifest
from proxy.handlers.exchange import Answer, WholeBody
from proxy.wire.responses import WINDOW
from twodfs.oci.digest import digest_of
from twodfs.oci.documents import Document


def made_again(size: int) -> Document:
    """Return a document whose bytes are equal to those of another, and others in memory."""
    body = bytes(bytearray(b"x") * size)
    return Document("application/json", digest_of(body), body)


def asking(**headers: str) -> web.Request:
    return make_mocked_request("GET", "/", headers=headers)


def body_of(answer: Answer) -> bytes | memoryview:
    assert isinstance(answer.body, WholeBody)
    return answer.body.content


def test_all_that_are_sent_a_large_document_at_the_same_time_share_its_bytes() -> None:
    one, other = made_again(WINDOW + 1), made_again(WINDOW + 1)
    assert one.body is not other.body
    first = blob(one, asking())
    for answer in (blob(other, asking()), manifest(other, asking()), blob(other, asking(Range="bytes=5-"))):
        body = body_of(answer)
        assert isinstance(body, memoryview)
        assert body.obj is one.body
    del first


def test_bytes_that_nobody_is_sent_any_more_are_forgotten() -> None:
    one, other = made_again(WINDOW + 1), made_again(WINDOW + 1)
    answer = blob(one, asking())
    del answer
    body = body_of(blob(other, asking()))
    assert isinstance(body, memoryview)
    assert body.obj is other.body


def test_a_small_document_is_sent_as_it_is() -> None:
    document = made_again(WINDOW)
    assert body_of(blob(document, asking())) is document.body
