"""Metrics, log line and trace of a request, written once, when it is over."""

from __future__ import annotations

from http import HTTPStatus
from typing import Final

from aiohttp import hdrs, web

from proxy.config import Config
from proxy.handlers.exchange import Answer
from proxy.logs import AccessLine
from proxy.metrics.catalogue import SPARED, Repositories, count_request
from proxy.partitions.records import CutPartition
from proxy.repository import DEFAULT_UPSTREAM
from proxy.requests.kinds import INVALID, Other, RegistryRequest, TagPull, TagsPull
from proxy.tracing import spans
from proxy.wire.responses import SENT
from twodfs.oci.digest import Digest

_SUCCESSES: Final = range(200, 400)


class AccessLog:
    """Keeps the account of every request."""

    def __init__(self, config: Config) -> None:
        self._access = AccessLine(config.log)
        self._repositories = Repositories(config.metrics.repositories)

    def close(
        self,
        http: web.BaseRequest,
        request: RegistryRequest | None,
        status: int,
        seconds: float,
        remote: str | None,
    ) -> None:
        """Count, log and describe a request that was answered, or whose client left.

        Args:
            http: the request as it came.
            request: the parsed request; None where it was not parsed.
            status: of the answer.
            seconds: from its head to now.
            remote: the client's address.
        """
        method, path = http.method, http.path
        kind = INVALID if request is None else request.label
        upstream = DEFAULT_UPSTREAM if request is None else request.upstream
        count_request(kind, method, status, seconds, trace_id=spans.trace_id(), upstream=upstream)
        repository = None if request is None or isinstance(request, Other | TagPull | TagsPull) else request.repository
        if repository is not None and status in _SUCCESSES:
            self._repositories.count(repository, kind)
        self._access.write(
            kind=kind,
            method=method,
            path=path,
            status=status,
            seconds=seconds,
            remote=remote,
            sent=http.get(SENT, 0),
            agent=http.headers.get(hdrs.USER_AGENT),
        )
        spans.describe(
            f"{method} {kind}",
            {
                "http.request.method": method,
                "http.response.status_code": status,
                "url.path": path,
                "twodfs.kind": kind,
                **({"twodfs.upstream": upstream} if upstream else {}),
            },
            is_failed=status >= HTTPStatus.INTERNAL_SERVER_ERROR,
        )


def count_spared(partition: CutPartition, digest: Digest, http: web.BaseRequest, answer: Answer) -> None:
    """Count the bytes that a client does not transfer since it pulls a partition.

    Once for each GET that is answered with the document that the tag names, by tag or by its digest: clients
    differ in which they use. HEAD, 304, and the manifests and configs below are not counted.
    """
    if http.method == hdrs.METH_GET and answer.status == HTTPStatus.OK and digest == partition.root:
        SPARED.add(partition.left_out_bytes)
