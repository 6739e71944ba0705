"""What went wrong -> answer: the registry's own words, or a sentence that says what to do."""

from __future__ import annotations

from typing import Final

from aiohttp import hdrs, web

from proxy.auth.access_control import DeniedError
from proxy.clients.hops import LoopError
from proxy.clients.limits import RETRY_AFTER, TooManyRequestsError
from proxy.confinement.apart import EndedError
from proxy.handlers.headers import LocationRewriter
from proxy.handlers.relay import BodyError, BodyTooLongError
from proxy.logs import get_logger
from proxy.partitions.lookalikes import ComputedTagError, UnknownPartitionError
from proxy.partitions.policy import UnsignedError
from proxy.requests.grammar import GrammarError, TargetError
from proxy.upstream.replies import RefusedError, Reply, UpstreamError
from proxy.wire.responses import JSON, WholeResponse, oci_errors, whole
from twodfs.errors import (
    FormatError,
    NothingSelectedError,
    PartitionError,
    TooLargeError,
    TooManyLayersError,
)

_NOT_FOUND: Final = 404
_NOT_ALLOWED: Final = 405
_OUR_FAULT: Final = 500
_CODES: Final = {403: "DENIED", _NOT_FOUND: "MANIFEST_UNKNOWN", 405: "UNSUPPORTED", 413: "SIZE_INVALID"}


class RegistrysAnswer(WholeResponse):
    """An answer of the registry's that was read as a whole, with nothing of ours in it."""


def explain(error: Exception, locations: LocationRewriter, request: web.BaseRequest) -> web.StreamResponse:
    """Return the answer to a request that failed: the upstream's own words, or a sentence that helps."""
    if isinstance(error, RefusedError):
        return as_it_came(error.reply, locations, request)
    if isinstance(error, DeniedError):
        return _denied(error, request)
    status, code, message = _verdict(error)
    if status == _OUR_FAULT:
        get_logger().error("request failed", exc_info=error, path=request.path)
    response = whole(status, oci_errors(code, message), JSON)
    if isinstance(error, TooManyRequestsError):
        response.headers[hdrs.RETRY_AFTER] = str(RETRY_AFTER)
    if isinstance(error, ComputedTagError):
        response.headers[hdrs.ALLOW] = "GET, HEAD"
    if isinstance(error, BodyError | BodyTooLongError) or not request.content.is_eof():
        response.force_close()  # where its body ends, and the next request begins, nobody can tell
    return response


def _denied(error: DeniedError, request: web.BaseRequest) -> web.StreamResponse:
    body = oci_errors(error.code, str(error))
    headers = error.headers
    headers[hdrs.CONTENT_TYPE] = JSON
    headers[hdrs.CONTENT_LENGTH] = str(len(body))
    headers["Docker-Distribution-Api-Version"] = "registry/2.0"
    response = WholeResponse(status=error.status, headers=headers, body=body)
    if request.body_exists:
        response.force_close()  # nobody reads the rest of an upload that is not let in
    return response


def _verdict(error: Exception) -> tuple[int, str, str]:  # noqa: C901, PLR0912 - a table
    """Return status, code (distribution-spec, "Error Codes") and message for ``error``."""
    match error:
        case UpstreamError(status=status):
            verdict = status, _CODES.get(status, "UNAVAILABLE"), str(error)
        case UnsignedError():
            verdict = 403, "DENIED", str(error)
        case ComputedTagError():
            verdict = _NOT_ALLOWED, "UNSUPPORTED", str(error)
        case NothingSelectedError() | UnknownPartitionError():
            verdict = _NOT_FOUND, "MANIFEST_UNKNOWN", str(error)
        case TooManyLayersError():
            verdict = 400, "MANIFEST_INVALID", str(error)
        case PartitionError():
            verdict = 400, "TAG_INVALID", str(error)
        case GrammarError(code=code):
            verdict = 400, code, str(error)
        case LoopError():
            verdict = 508, "UNKNOWN", str(error)
        case TooManyRequestsError():
            verdict = 429, "TOOMANYREQUESTS", str(error)
        case BodyTooLongError():
            verdict = 413, "SIZE_INVALID", f"{error}; see limits.manifest_body of the proxy"
        case TargetError() | BodyError():
            verdict = 400, "UNSUPPORTED", str(error)
        case EndedError():
            verdict = 503, "UNAVAILABLE", str(error)
        case TooLargeError():
            verdict = 400, "MANIFEST_INVALID", str(error)
        case FormatError():
            verdict = 400, "MANIFEST_INVALID", f"the image in the registry is malformed: {error}"
        case _:
            verdict = _OUR_FAULT, "UNKNOWN", "the proxy failed on this request; its log has the reason"
    return verdict


def as_it_came(reply: Reply, locations: LocationRewriter, request: web.BaseRequest) -> web.StreamResponse:
    """Return an answer of the registry that was read as a whole."""
    headers = locations.forwarded_response(reply.headers, request)
    if request.method != hdrs.METH_HEAD:
        headers[hdrs.CONTENT_LENGTH] = str(len(reply.body))
    return RegistrysAnswer(status=reply.status, reason=reply.reason, headers=headers, body=reply.body)
