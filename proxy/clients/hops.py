"""Which proxies a request has been through, so that a circle ends.

Every request upstream names its sender in ``Via`` (RFC 9110, section 7.6.3), behind the senders that brought
it here. A request that names this proxy already went in a circle; so did a request that has been through more of
our kind than any chain of caches has, where several replicas send it round among each other.
"""

from __future__ import annotations

import os
import time
from collections.abc import MutableMapping
from contextvars import ContextVar
from typing import Any, Final

from aiohttp import hdrs
from multidict import CIMultiDictProxy

from proxy.logs import get_logger

_KIND: Final = "twodfs-proxy-"
_MOST: Final = 8
"""Proxies of our kind in a row."""
_SELDOM: Final = 60.0

_came_through: ContextVar[str] = ContextVar("via", default="")


class LoopError(Exception):
    """The request came back to a proxy that it has been through."""


class _Node:
    name = f"{_KIND}{os.urandom(8).hex()}"
    told = float("-inf")


def name() -> str:
    """Return how this proxy is called in ``Via``; workers of one parent have one name."""
    return _Node.name


def be_called(given: str) -> None:
    """Take the name of the parent, since a request may come back to another of its workers."""
    _Node.name = given


def arrive(headers: CIMultiDictProxy[str]) -> None:
    """Remember, for this task, the hops of the request.

    Raises:
        LoopError: it has been here.
    """
    via = ", ".join(headers.getall(hdrs.VIA)) if hdrs.VIA in headers else ""
    _came_through.set(via)
    if _KIND in via and (_Node.name in via or via.count(_KIND) >= _MOST):
        now = time.monotonic()
        if now - _Node.told > _SELDOM:
            _Node.told = now
            get_logger().error(
                "requests go in a circle",
                reason="upstream.url leads back to this proxy; name the registry itself",
            )
        raise LoopError("this request came back to the proxy that sent it: its upstream.url leads to itself")


def leave(headers: MutableMapping[Any, str]) -> None:
    """Name this proxy in the headers of a request upstream."""
    via = _came_through.get()
    headers[hdrs.VIA] = f"{via}, 1.1 {_Node.name}" if via else f"1.1 {_Node.name}"
