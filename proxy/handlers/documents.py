"""Documents made by the proxy as answers: manifests, and blobs with ranges."""

from __future__ import annotations

import re
from http import HTTPStatus
from typing import Final
from weakref import WeakValueDictionary

from aiohttp import hdrs, web
from multidict import CIMultiDict

from proxy.handlers.errors import whole
from proxy.handlers.exchange import Answer, WholeBody
from proxy.wire.responses import WINDOW, oci_errors
from twodfs.oci.digest import Digest
from twodfs.oci.documents import Document

_BLOB_TYPE: Final = "application/octet-stream"
_RANGE: Final = re.compile(r"bytes=([0-9]{0,18})-([0-9]{0,18})")


class _Body:
    """The bytes of a document for all that are sent it at the same time."""

    __slots__ = ("__weakref__", "content")

    def __init__(self, content: bytes) -> None:
        self.content = content


# A body that memory evicted, or never held, is made again for each request; the bytes are the same.
_UNDER_WAY: Final[WeakValueDictionary[Digest, _Body]] = WeakValueDictionary()


def manifest(document: Document, http: web.BaseRequest) -> Answer:
    """Return ``document`` as the manifest or index that it is."""
    return _unless_held(http, document, _headers(document, document.media_type))


def blob(document: Document, http: web.BaseRequest) -> Answer:
    """Return ``document``, or the range of it that is asked for, as the blob that it is."""
    headers = _headers(document, _BLOB_TYPE)
    headers[hdrs.ACCEPT_RANGES] = "bytes"
    asked = byte_range(http.headers.get(hdrs.RANGE, ""), len(document.body))
    held = http.headers.get(hdrs.IF_RANGE)
    is_another = held is not None and held.strip() != headers[hdrs.ETAG]  # RFC 9110, 13.1.5: then all of it
    whole_answer = _unless_held(http, document, headers)
    if asked is None or is_another or http.method == hdrs.METH_HEAD or whole_answer.status == HTTPStatus.NOT_MODIFIED:
        return whole_answer
    if asked.start >= len(document.body):
        body = oci_errors("RANGE_INVALID", f"the blob has {len(document.body)} bytes, none in this range")
        return whole(
            HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE, body, {hdrs.CONTENT_RANGE: f"bytes */{len(document.body)}"}
        )
    headers[hdrs.CONTENT_RANGE] = f"bytes {asked.start}-{asked.stop - 1}/{len(document.body)}"
    headers[hdrs.CONTENT_LENGTH] = str(len(asked))
    return Answer(HTTPStatus.PARTIAL_CONTENT, headers, _body(document, slice(asked.start, asked.stop)))


def _headers(document: Document, content_type: str) -> CIMultiDict[str]:
    return CIMultiDict(
        {
            hdrs.CONTENT_TYPE: content_type,
            hdrs.CONTENT_LENGTH: str(len(document.body)),
            "Docker-Content-Digest": document.digest,
            "Docker-Distribution-Api-Version": "registry/2.0",
            hdrs.ETAG: f'"{document.digest}"',
        }
    )


def _body(document: Document, part: slice = slice(None)) -> WholeBody:
    """Return bytes of a document; while they are on their way, no other answer with the document has its own."""
    if len(document.body) <= WINDOW:
        return WholeBody(document.body[part])
    shared = _UNDER_WAY.setdefault(document.digest, _Body(document.body))
    return WholeBody(memoryview(shared.content)[part], shared)


def _unless_held(http: web.BaseRequest, document: Document, headers: CIMultiDict[str]) -> Answer:
    """Return the document, or 304 to a client that names it in ``If-None-Match`` (RFC 9110, 13.1.2)."""
    named = http.headers.get(hdrs.IF_NONE_MATCH)
    held = {tag.strip().removeprefix("W/") for tag in named.split(",")} if named else ()
    if held and held & {headers[hdrs.ETAG], "*"}:
        del headers[hdrs.CONTENT_LENGTH], headers[hdrs.CONTENT_TYPE]
        return Answer(HTTPStatus.NOT_MODIFIED, headers, WholeBody(b""))
    return Answer(HTTPStatus.OK, headers, _body(document))


def byte_range(header: str, size: int) -> range | None:
    """Return the bytes that a ``Range`` header of one range asks for (RFC 9110, 14.1.2).

    None: no range, several, or not understood: the whole is sent, as the RFC allows. A range that starts at
    or behind ``size`` cannot be satisfied.
    """
    match = _RANGE.fullmatch(header)
    if match is None:
        return None
    first, last = match.groups()
    if not first:
        suffix = int(last) if last else 0
        return range(max(0, size - suffix), size) if suffix else range(size, size)
    stop = min(int(last) + 1, size) if last else size
    return None if last and int(last) < int(first) else range(int(first), max(stop, int(first)))
