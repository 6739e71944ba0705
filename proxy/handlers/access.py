"""The account of a request: what is counted, logged and traced of it, once, when it is over."""

from __future__ import annotations

from typing import Final

from aiohttp import hdrs, web

from proxy.config import Config
from proxy.logs import AccessLine
from proxy.metrics.catalogue import SPARED, Repositories, count_request
from proxy.partitions.records import CutPartition
from proxy.requests.kinds import INVALID, Other, RegistryRequest
from proxy.tracing import spans
from proxy.wire.responses import SENT
from twodfs.oci.digest import Digest

_OUR_FAULT: Final = 500
_SUCCESSES: Final = range(200, 400)


class AccessLog:
    """Keeps the account of every request."""

    def __init__(self, config: Config) -> None:
        self._access = AccessLine(config.log)
        self._repositories = Repositories(config.metrics.repositories)

    def close(
        self,
        request: web.BaseRequest,
        routed: RegistryRequest | None,
        status: int,
        seconds: float,
        remote: str | None,
    ) -> None:
        """Count, log and describe a request that was answered, or whose client left.

        Args:
            request: as it came.
            routed: what it was; None where it was no request that can be routed.
            status: of the answer.
            seconds: from its head to now.
            remote: the client's address.
        """
        method, path = request.method, request.path
        kind = INVALID if routed is None else routed.label
        count_request(kind, method, status, seconds, spans.trace_id())
        repository = None if routed is None or isinstance(routed, Other) else routed.repository
        if repository is not None and status in _SUCCESSES:
            self._repositories.count(repository.name, kind)
        self._access.write(
            kind=kind,
            method=method,
            path=path,
            status=status,
            seconds=seconds,
            remote=remote,
            sent=request.get(SENT, 0),
            agent=request.headers.get(hdrs.USER_AGENT),
        )
        spans.describe(
            f"{method} {kind}",
            {
                "http.request.method": method,
                "http.response.status_code": status,
                "url.path": path,
                "twodfs.kind": kind,
            },
            is_failed=status >= _OUR_FAULT,
        )


def count_spared(made: CutPartition, digest: Digest, request: web.BaseRequest, response: web.StreamResponse) -> None:
    """Count the bytes that a client does not transfer since it pulls a partition.

    Once for each GET that is answered with the document that the tag names, by tag or by its digest: clients
    differ in which they use. HEAD, 304, and the manifests and configs below are not counted.
    """
    if request.method == hdrs.METH_GET and response.status == web.HTTPOk.status_code and digest == made.root:
        SPARED.add(made.left_out_bytes)
