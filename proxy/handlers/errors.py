"""Error -> answer: the registry's own words, or a sentence that names the remedy."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from http import HTTPStatus
from typing import Final

from aiohttp import hdrs, web
from multidict import CIMultiDict, istr

from proxy.auth.access_control import DeniedError
from proxy.clients.hops import LoopError
from proxy.clients.limits import RETRY_AFTER, TooManyRequestsError
from proxy.confinement.apart import EndedError
from proxy.handlers.exchange import Answer, WholeBody
from proxy.handlers.headers import LocationRewriter
from proxy.handlers.relay import BodyError, BodyTooLongError
from proxy.logs import get_logger
from proxy.partitions.lookalikes import ComputedTagError, UnknownPartitionError
from proxy.partitions.policy import UnsignedError
from proxy.requests.choice import UnknownNamespaceError
from proxy.requests.grammar import GrammarError, TargetError
from proxy.upstream.replies import RefusedError, Reply, UpstreamError
from proxy.wire.responses import JSON, oci_errors
from twodfs.errors import (
    FormatError,
    NothingSelectedError,
    PartitionError,
    TooLargeError,
    TooManyLayersError,
)

_CODES: Final[dict[int, str]] = {
    HTTPStatus.FORBIDDEN: "DENIED",
    HTTPStatus.NOT_FOUND: "MANIFEST_UNKNOWN",
    HTTPStatus.METHOD_NOT_ALLOWED: "UNSUPPORTED",
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE: "SIZE_INVALID",
}


def whole(status: int, body: bytes, headers: Mapping[istr, str] | None = None) -> Answer:
    """Return an answer of ours with ``body``, which is JSON."""
    all_headers = CIMultiDict(headers or {})
    all_headers[hdrs.CONTENT_TYPE] = JSON
    all_headers[hdrs.CONTENT_LENGTH] = str(len(body))
    return Answer(status, all_headers, WholeBody(body))


def explain(error: Exception, locations: LocationRewriter, http: web.BaseRequest) -> Answer:
    """Return the answer to a request that failed: the upstream's own words, or a sentence that helps."""
    if isinstance(error, RefusedError):
        return relayed_reply(error.reply, locations, http)
    if isinstance(error, DeniedError):
        return _denied(error, http)
    status, code, message = _verdict(error)
    if status == HTTPStatus.INTERNAL_SERVER_ERROR:
        get_logger().error("request failed", exc_info=error, path=http.path)
    headers = {}
    if isinstance(error, TooManyRequestsError):
        headers[hdrs.RETRY_AFTER] = str(RETRY_AFTER)
    if isinstance(error, ComputedTagError):
        headers[hdrs.ALLOW] = "GET, HEAD"
    # The end of its body, and so the start of the next request, is unknown.
    is_unclear = isinstance(error, BodyError | BodyTooLongError) or not http.content.is_eof()
    return replace(whole(status, oci_errors(code, message), headers), ends_connection=is_unclear)


def _denied(error: DeniedError, http: web.BaseRequest) -> Answer:
    body = oci_errors(error.code, str(error))
    headers = error.headers
    headers[hdrs.CONTENT_TYPE] = JSON
    headers[hdrs.CONTENT_LENGTH] = str(len(body))
    headers["Docker-Distribution-Api-Version"] = "registry/2.0"
    # The rest of a refused upload is not read.
    return Answer(error.status, headers, WholeBody(body), ends_connection=http.body_exists)


def _verdict(error: Exception) -> tuple[int, str, str]:  # noqa: C901, PLR0912 - a table
    """Return status, code (distribution-spec, "Error Codes") and message for ``error``."""
    match error:
        case UpstreamError(status=status):
            verdict = status, _CODES.get(status, "UNAVAILABLE"), str(error)
        case UnsignedError():
            verdict = HTTPStatus.FORBIDDEN, "DENIED", str(error)
        case ComputedTagError():
            verdict = HTTPStatus.METHOD_NOT_ALLOWED, "UNSUPPORTED", str(error)
        case NothingSelectedError() | UnknownPartitionError():
            verdict = HTTPStatus.NOT_FOUND, "MANIFEST_UNKNOWN", str(error)
        case TooManyLayersError():
            verdict = HTTPStatus.BAD_REQUEST, "MANIFEST_INVALID", str(error)
        case PartitionError():
            verdict = HTTPStatus.BAD_REQUEST, "TAG_INVALID", str(error)
        case UnknownNamespaceError(code=code):
            verdict = HTTPStatus.NOT_FOUND, code, str(error)
        case GrammarError(code=code):
            verdict = HTTPStatus.BAD_REQUEST, code, str(error)
        case LoopError():
            verdict = HTTPStatus.LOOP_DETECTED, "UNKNOWN", str(error)
        case TooManyRequestsError():
            verdict = HTTPStatus.TOO_MANY_REQUESTS, "TOOMANYREQUESTS", str(error)
        case BodyTooLongError():
            verdict = (
                HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
                "SIZE_INVALID",
                f"{error}; see limits.manifest_body of the proxy",
            )
        case TargetError() | BodyError():
            verdict = HTTPStatus.BAD_REQUEST, "UNSUPPORTED", str(error)
        case EndedError():
            verdict = HTTPStatus.SERVICE_UNAVAILABLE, "UNAVAILABLE", str(error)
        case TooLargeError():
            verdict = HTTPStatus.BAD_REQUEST, "MANIFEST_INVALID", str(error)
        case FormatError():
            verdict = HTTPStatus.BAD_REQUEST, "MANIFEST_INVALID", f"the image in the registry is malformed: {error}"
        case _:
            verdict = (
                HTTPStatus.INTERNAL_SERVER_ERROR,
                "UNKNOWN",
                "the proxy failed on this request; its log has the reason",
            )
    return verdict


def relayed_reply(reply: Reply, locations: LocationRewriter, http: web.BaseRequest) -> Answer:
    """Return an answer of the registry that was read as a whole."""
    headers = locations.forwarded_response(reply.headers, http)
    if http.method != hdrs.METH_HEAD:
        headers[hdrs.CONTENT_LENGTH] = str(len(reply.body))
    return Answer(reply.status, headers, WholeBody(reply.body), reason=reply.reason, is_relayed=True)
