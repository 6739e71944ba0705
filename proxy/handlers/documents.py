"""Documents made by the proxy as answers: manifests, and blobs with ranges."""

from __future__ import annotations

import re
from collections.abc import Callable
from http import HTTPStatus
from typing import Final
from weakref import WeakValueDictionary

from aiohttp import hdrs, web
from multidict import CIMultiDict

from proxy.handlers.errors import whole
from proxy.handlers.exchange import Answer, BodySource, WholeBody
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
    headers = _headers(document.digest, len(document.body), document.media_type)
    if is_held(http, headers[hdrs.ETAG]):
        return _not_modified(headers)
    return Answer(HTTPStatus.OK, headers, _body(document))


def blob(document: Document, http: web.BaseRequest) -> Answer:
    """Return ``document``, or the range of it that is asked for, as the blob that it is."""
    return blob_part(
        http, document.digest, len(document.body), lambda part: _body(document, slice(part.start, part.stop))
    )


def blob_part(http: web.BaseRequest, digest: Digest, size: int, body: Callable[[range], BodySource]) -> Answer:
    """Return a blob, or the range of it that is asked for; 304 or 416 where that is the answer.

    Args:
        http: the request.
        digest: of the blob.
        size: of the whole blob in bytes.
        body: makes the source of the bytes in a range; called once at most.
    """
    headers = _headers(digest, size, _BLOB_TYPE)
    headers[hdrs.ACCEPT_RANGES] = "bytes"
    asked = byte_range(http.headers.get(hdrs.RANGE, ""), size)
    condition = http.headers.get(hdrs.IF_RANGE)
    is_another = condition is not None and condition.strip() != headers[hdrs.ETAG]  # RFC 9110, 13.1.5: then all of it
    if is_held(http, headers[hdrs.ETAG]):
        return _not_modified(headers)
    if asked is None or is_another or http.method == hdrs.METH_HEAD:
        return Answer(HTTPStatus.OK, headers, body(range(size)))
    if asked.start >= size:
        problem = oci_errors("RANGE_INVALID", f"the blob has {size} bytes, none in this range")
        return whole(HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE, problem, {hdrs.CONTENT_RANGE: f"bytes */{size}"})
    headers[hdrs.CONTENT_RANGE] = f"bytes {asked.start}-{asked.stop - 1}/{size}"
    headers[hdrs.CONTENT_LENGTH] = str(len(asked))
    return Answer(HTTPStatus.PARTIAL_CONTENT, headers, body(asked))


def _headers(digest: Digest, size: int, content_type: str) -> CIMultiDict[str]:
    return CIMultiDict(
        {
            hdrs.CONTENT_TYPE: content_type,
            hdrs.CONTENT_LENGTH: str(size),
            "Docker-Content-Digest": digest,
            "Docker-Distribution-Api-Version": "registry/2.0",
            hdrs.ETAG: f'"{digest}"',
        }
    )


def _body(document: Document, part: slice = slice(None)) -> WholeBody:
    """Return bytes of a document; while they are on their way, no other answer with the document has its own."""
    if len(document.body) <= WINDOW:
        return WholeBody(document.body[part])
    shared = _UNDER_WAY.setdefault(document.digest, _Body(document.body))
    return WholeBody(memoryview(shared.content)[part], shared)


def is_held(http: web.BaseRequest, etag: str) -> bool:
    """Say whether the client names the document with ``etag`` in ``If-None-Match`` (RFC 9110, 13.1.2)."""
    named = http.headers.get(hdrs.IF_NONE_MATCH)
    held = {tag.strip().removeprefix("W/") for tag in named.split(",")} if named else set()
    return bool(held & {etag.removeprefix("W/"), "*"})


def _not_modified(headers: CIMultiDict[str]) -> Answer:
    del headers[hdrs.CONTENT_LENGTH], headers[hdrs.CONTENT_TYPE]
    return Answer(HTTPStatus.NOT_MODIFIED, headers, WholeBody(b""))


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
