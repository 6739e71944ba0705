"""Answers that are none: the registry fails, or something else speaks in its place, such as an outage page."""

from __future__ import annotations

import re
from http import HTTPStatus
from typing import Final

import orjson
from aiohttp import hdrs

from proxy.edge.offline.questions import EdgeQuestion
from proxy.upstream.replies import GIVEN, REFUSALS, Reply, UnknownNowError, UpstreamError

DIGEST_HEADER: Final = "Docker-Content-Digest"
GONE: Final = frozenset({HTTPStatus.NOT_FOUND, HTTPStatus.GONE})
_SECONDS: Final = re.compile(r"[0-9]{1,4}")
_LONGEST_PAUSE: Final = 2.0
_PAUSE: Final = 0.5


class UnavailableError(Exception):
    """The registry gave no answer of its own; the message says why, to be read before ", and ..."."""


def missing(question: EdgeQuestion, why: UnavailableError | str, *, may_read: bool) -> UpstreamError:
    """Return the error for a client to which the disk has no answer either.

    ``may_read``: whether the client's right is known; else it is not told whether there is one for others.
    """
    if may_read:
        return UnknownNowError(f"{why}, and {question.shown} is not on this node")
    return UpstreamError(
        f"{why}, and your credentials were not accepted here lately, so this node does not answer in its place",
        status=HTTPStatus.SERVICE_UNAVAILABLE,
    )


def is_failing(reply: Reply) -> bool:
    """Say whether the registry says that it fails, or has no time for us."""
    return reply.status >= HTTPStatus.INTERNAL_SERVER_ERROR or reply.status == HTTPStatus.TOO_MANY_REQUESTS


def is_foreign(reply: Reply, *, is_root: bool = False) -> bool:
    """Say whether an answer to GET is none of a registry's, for what the registry is known to have.

    That is a "not found" without OCI's errors (distribution-spec, "Error Codes"), or a page in the place of a
    document, as of a portal that wants a login.

    Args:
        reply: the answer, with its body.
        is_root: whether ``/v2/`` was asked for, whose success has no form.
    """
    if reply.status in GONE:
        return not has_oci_errors(reply.body)
    return reply.status == HTTPStatus.OK and is_page(reply, is_root=is_root)


def is_page(reply: Reply, *, is_root: bool = False) -> bool:
    """Say whether a success, to GET or HEAD, is no document of a registry; ``is_root``: one that has no form."""
    if is_root:
        return reply.media_type == "text/html"
    return DIGEST_HEADER not in reply.headers and "json" not in reply.media_type


def is_portal(question: EdgeQuestion, reply: Reply, size: int | None = None) -> bool:
    """Say whether a yes to a question about content by digest is a page's, which says it to everyone.

    ``size``: bytes of the content, where it is here and the yes came without it.
    """
    if reply.status not in GIVEN:
        return False
    named = reply.headers.get(DIGEST_HEADER)
    if named is None and size is not None and reply.status == HTTPStatus.OK:
        length = reply.headers.get(hdrs.CONTENT_LENGTH, "0")
        if length not in ("0", str(size)):  # some registries answer HEAD with no length, or none that counts
            return True
    return named not in (None, question.reference) or is_page(reply, is_root=question.kind == "blob")


def is_refusal(reply: Reply) -> bool:
    """Say whether an answer to GET is the registry's no to the credentials that it was asked with."""
    is_challenge = reply.status == HTTPStatus.UNAUTHORIZED and hdrs.WWW_AUTHENTICATE in reply.headers
    return is_challenge or (reply.status in REFUSALS and has_oci_errors(reply.body))


def has_oci_errors(body: bytes) -> bool:
    """Say whether a body is an error as registries write it."""
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError:
        return False
    errors = document.get("errors") if isinstance(document, dict) else None
    return (
        isinstance(errors, list)
        and bool(errors)
        and all(isinstance(one, dict) and isinstance(one.get("code"), str) for one in errors)
    )


def pause_before_retry(reply: Reply) -> float | None:
    """Return the seconds to wait before a question that was answered so is asked again; None: too many."""
    asked = reply.headers.get(hdrs.RETRY_AFTER, "")
    if not asked:
        return _PAUSE
    seconds = float(asked) if _SECONDS.fullmatch(asked) else _LONGEST_PAUSE + 1
    return seconds if seconds <= _LONGEST_PAUSE else None
