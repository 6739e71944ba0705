"""Handlers over the registry of a test."""

import pytest

from proxy.upstream.upstream import Upstreams
from tests.lab.exchanges import Handlers


@pytest.fixture
def handlers(upstreams: Upstreams) -> Handlers:
    return Handlers.over(upstreams)
