"""The endpoint of a node, asked by the command: orders given, and what happens told line by line."""

from __future__ import annotations

import http.client
import ipaddress
from collections.abc import Iterator
from contextlib import contextmanager
from http import HTTPStatus
from typing import Any, Final
from urllib.parse import urlsplit

import orjson

from proxy.prefetch.endpoint import PATH
from proxy.prefetch.order import Order
from twodfs.errors import TwodfsError, UsageError
from twodfs.printable import printable

_SILENCE: Final = 30.0
"""Seconds; a node says every two that it is alive."""
_LONGEST_LINE: Final = 2**20
_PORTS: Final = {"http": 80, "https": 443}


class NodeError(TwodfsError):
    """The node does not do what it is asked; the message says why, and what to do."""


class NodeClient:
    """One node, by the address of its admin listener."""

    def __init__(self, url: str, token: str) -> None:
        """Prepare to ask.

        Args:
            url: as ``http://127.0.0.1:9464``.
            token: the node's admin token.

        Raises:
            UsageError: the address is none.
        """
        parts = urlsplit(url)
        try:
            port = parts.port or _PORTS.get(parts.scheme, 0)
        except ValueError:
            port = 0
        if parts.scheme not in _PORTS or not parts.hostname or not port or parts.path not in ("", "/"):
            raise UsageError(
                f"--node {url!r} is no address; expected the node's admin listener, as http://127.0.0.1:9464"
            )
        self.url = f"{parts.scheme}://{parts.netloc}"
        self._host, self._port, self._is_encrypted = parts.hostname, port, parts.scheme == "https"
        self._token = token

    @property
    def is_private(self) -> bool:
        """Whether nobody on the way reads what is sent."""
        try:
            is_here = ipaddress.ip_address(self._host).is_loopback
        except ValueError:
            is_here = self._host == "localhost"
        return self._is_encrypted or is_here

    def about(self) -> dict[str, Any]:
        """Return the node's jobs, and the registry whose credentials an order may bring; raises ``NodeError``."""
        with self._asked("GET", None) as response:
            return self._document(response, HTTPStatus.OK)

    def order(self, order: Order) -> Iterator[dict[str, Any]]:
        """Give an order, and yield what happens until the job has ended; of a detached one, that it has begun.

        Raises:
            NodeError: the node refuses it, or leaves.
        """
        with self._asked("POST", orjson.dumps(order.to_dict())) as response:
            if order.detach:
                yield self._document(response, HTTPStatus.ACCEPTED)
                return
            if response.status != HTTPStatus.OK:
                self._document(response, HTTPStatus.OK)
            while line := response.readline(_LONGEST_LINE):
                event = _parsed(line)
                if event.get("event") != "alive":
                    yield event

    @contextmanager
    def _asked(self, method: str, body: bytes | None) -> Iterator[http.client.HTTPResponse]:
        kind = http.client.HTTPSConnection if self._is_encrypted else http.client.HTTPConnection
        connection = kind(self._host, self._port, timeout=_SILENCE)
        headers = {"Authorization": f"Bearer {self._token}", "Content-Type": "application/json"}
        try:
            connection.request(method, PATH, body, headers)
            yield connection.getresponse()
        except TimeoutError:
            raise NodeError(f"the node at {self.url} has fallen silent; is it running?") from None
        except (OSError, http.client.HTTPException) as error:
            reason = error.strerror if isinstance(error, OSError) and error.strerror else type(error).__name__
            raise NodeError(
                f"the node at {self.url} cannot be asked: {reason}; is it running? --node names its admin listener"
            ) from None
        finally:
            connection.close()

    def _document(self, response: http.client.HTTPResponse, expected: HTTPStatus) -> dict[str, Any]:
        if response.status == HTTPStatus.UNAUTHORIZED:
            raise NodeError(
                f"the node at {self.url} does not take this admin token: it is in the file admin-token of its edge "
                "directory, or where edge.admin_token_file says"
            )
        if response.status == HTTPStatus.NOT_FOUND:
            raise NodeError(f"the node at {self.url} has no edge directory: start it with --edge DIR")
        document = _parsed(response.read(_LONGEST_LINE))
        if response.status != expected:
            reason = document.get("error") or f"it answers {response.status}"
            raise NodeError(f"the node at {self.url} refuses: {printable(str(reason))}")
        return document


def _parsed(line: bytes) -> dict[str, Any]:
    try:
        found = orjson.loads(line)
    except orjson.JSONDecodeError:
        found = None
    if not isinstance(found, dict):
        raise NodeError("the answer is no node's; --node is the address of its admin listener")
    return found
