import pytest
from aiohttp.test_utils import make_mocked_request

from proxy.handlers.documents import blob
from twodfs.oci.digest import digest_of
from twodfs.oci.documents import Document

BODY = b"0123456789"
DOCUMENT = Document("application/json", digest_of(BODY), BODY)
TAG = f'"{DOCUMENT.digest}"'


@pytest.mark.parametrize(
    ("condition", "status"),
    [
        ({}, 206),
        ({"If-Range": TAG}, 206),
        ({"If-Range": '"sha256:other"'}, 200),
        ({"If-Range": f"W/{TAG}"}, 200),  # a weak one never matches here (RFC 9110, 13.1.5)
        ({"If-Range": "Sat, 28 Nov 2026 07:00:00 GMT"}, 200),
        ({"If-None-Match": TAG}, 304),  # which is looked at before the range (13.2.2)
        ({"If-None-Match": '"other"'}, 206),
    ],
)
def test_a_range_is_given_of_what_the_client_has_a_part_of(condition: dict[str, str], status: int) -> None:
    request = make_mocked_request("GET", "/", headers={"Range": "bytes=2-4", **condition})
    answer = blob(DOCUMENT, request)
    assert answer.status == status
    assert answer.headers.get("Content-Length") == {206: "3", 200: "10", 304: None}[status]
    assert ("Content-Range" in answer.headers) is (status == 206)
