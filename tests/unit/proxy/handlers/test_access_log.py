"""What is counted of a request when it is over."""

from typing import Any

import pytest
from aiohttp.test_utils import make_mocked_request
from multidict import CIMultiDict

from proxy.config import load
from proxy.handlers.access_log import AccessLog, count_spared
from proxy.handlers.exchange import Answer, WholeBody
from proxy.metrics.catalogue import REPOSITORY_REQUESTS, SPARED
from proxy.partitions.records import CutPartition, Provenance
from proxy.requests.parsing import parse
from twodfs.field.partition import Selection
from twodfs.oci.digest import Digest

ROOT, CHILD = (Digest(f"sha256:{at:064}") for at in range(2))
MADE = CutPartition(Provenance(CHILD, Selection.parse("0.0.0.0")), ROOT, {}, 0, left_out_bytes=7)


@pytest.mark.parametrize(
    ("method", "status", "digest", "spared"),
    [
        ("GET", 200, ROOT, 7),
        ("GET", 304, ROOT, 0),
        ("HEAD", 200, ROOT, 0),
        ("GET", 206, ROOT, 0),
        ("GET", 200, CHILD, 0),
    ],
)
def test_what_a_partition_spares_counts_once_a_pull(method: str, status: int, digest: Digest, spared: int) -> None:
    before = SPARED.value
    http: Any = make_mocked_request(method, "/")
    count_spared(MADE, digest, http, Answer(status, CIMultiDict(), WholeBody(b"")))
    assert SPARED.value - before == spared


@pytest.mark.parametrize(
    ("target", "status", "counts"),
    [
        ("/v2/counted/manifests/v1--0.0.0.0", 200, 1),
        ("/v2/counted/manifests/v1--0.0.0.0", 404, 0),
        ("/v2/counted/tags/list", 200, 0),
        ("/v2/another/manifests/v1--0.0.0.0", 200, 0),
    ],
)
def test_requests_are_counted_by_repository_where_the_registry_said_yes(target: str, status: int, counts: int) -> None:
    log = AccessLog(load({"upstream.url": "http://registry.example", "metrics.repositories": "counted"}, {}))
    before = REPOSITORY_REQUESTS.of("counted", "partition").value, REPOSITORY_REQUESTS.of("counted", "other").value
    http: Any = make_mocked_request("GET", target)
    log.close(http, parse("GET", target), status, 0.1, "192.0.2.1")
    after = REPOSITORY_REQUESTS.of("counted", "partition").value, REPOSITORY_REQUESTS.of("counted", "other").value
    assert (after[0] - before[0], after[1] - before[1]) == (counts, 0)
