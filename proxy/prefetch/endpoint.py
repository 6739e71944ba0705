"""``/edge/prefetch`` on the admin listener: jobs begun, followed and listed by who knows the node's admin token.

``POST`` takes an order as JSON and answers with lines of JSON until the job has ended. Who leaves before that ends it,
unless the order says ``detach``. ``GET`` lists the jobs, and the registries whose credentials an order may bring.
"""

from __future__ import annotations

import asyncio
import hmac
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Final

import orjson
from aiohttp import hdrs, web

from proxy.logs import get_logger
from proxy.prefetch.jobs import Event, Job, Jobs, TooManyJobsError
from proxy.prefetch.order import Order, OrderError
from proxy.repository import DEFAULT_UPSTREAM
from twodfs.errors import FormatError
from twodfs.oci.documents import parse_json

PATH: Final = "/edge/prefetch"
_MOST_ORDER: Final = 4 * 2**20
_READ_SECONDS: Final = 30.0
_BEARER: Final = "bearer "
_JSON_LINES: Final = "application/jsonlines"


@dataclass(frozen=True, slots=True)
class LoginWanted:
    """A registry whose credentials jobs need.

    Attributes:
        registry: its host or host:port.
        wants_credentials: whether the node has none of its own.
    """

    registry: str
    wants_credentials: bool

    def to_dict(self) -> dict[str, Any]:
        """Return it as JSON."""
        return {"registry": self.registry, "wantsCredentials": self.wants_credentials}


class PrefetchEndpoint:
    """The handlers of the path."""

    def __init__(self, jobs: Jobs, token: Callable[[], str], registries: Mapping[str, LoginWanted]) -> None:
        """Answer for ``jobs``.

        Args:
            jobs: of the node.
            token: returns the admin token as it is now.
            registries: by the name that ``Repository.upstream`` has, the default one among them.
        """
        self._jobs = jobs
        self._token = token
        self._registries = registries

    def add_to(self, application: web.Application) -> None:
        """Let ``application`` answer the path."""
        application.router.add_post(PATH, self._begin)
        application.router.add_get(PATH, self._list)

    async def _list(self, request: web.Request) -> web.Response:
        if (refusal := self._refusal(request)) is not None:
            return refusal
        others = {name: one.to_dict() for name, one in self._registries.items() if name != DEFAULT_UPSTREAM}
        default = self._registries[DEFAULT_UPSTREAM].to_dict()
        return _answer(HTTPStatus.OK, {**default, "upstreams": others, "jobs": self._jobs.all()})

    async def _begin(self, request: web.Request) -> web.StreamResponse:
        if (refusal := self._refusal(request)) is not None:
            return refusal
        try:
            async with asyncio.timeout(_READ_SECONDS):
                order = Order.from_dict(parse_json(await _body(request)))
        except (OrderError, FormatError) as error:
            return _answer(HTTPStatus.BAD_REQUEST, {"error": f"the order is refused: {error}"})
        except TimeoutError:
            return _answer(HTTPStatus.REQUEST_TIMEOUT, {"error": "the order did not come in time"})
        try:
            job = self._jobs.begin(order)
        except TooManyJobsError as error:
            return _answer(HTTPStatus.TOO_MANY_REQUESTS, {"error": str(error)})
        if order.detach:
            return _answer(HTTPStatus.ACCEPTED, {"event": "detached", "job": job.number})
        try:
            return await _followed(request, job)
        finally:
            job.cancel()  # which does nothing once it has ended

    def _refusal(self, request: web.Request) -> web.Response | None:
        """Return the answer to one who does not know the admin token; None for one who does."""
        given = request.headers.get(hdrs.AUTHORIZATION, "")
        scheme, word = given[: len(_BEARER)].lower(), given[len(_BEARER) :].strip()
        expected = self._token()
        is_right = hmac.compare_digest(word.encode("utf-8", "surrogateescape"), expected.encode())
        if is_right and scheme == _BEARER and expected:
            return None
        get_logger().warning("prefetch refused", reason="no admin token, or another", address=request.remote)
        answer = _answer(
            HTTPStatus.UNAUTHORIZED, {"error": "this takes the node's admin token, as its edge directory has it"}
        )
        answer.headers[hdrs.WWW_AUTHENTICATE] = 'Bearer realm="twodfs-proxy admin"'
        return answer


async def _followed(request: web.Request, job: Job) -> web.StreamResponse:
    response = web.StreamResponse(headers={hdrs.CONTENT_TYPE: _JSON_LINES, hdrs.CACHE_CONTROL: "no-store"})
    try:
        await response.prepare(request)
        async for event in job.follow():
            await response.write(_line(event))
        await response.write_eof()
    except ConnectionError:
        get_logger().info("prefetch left", job=job.number)
    return response


async def _body(request: web.Request) -> bytes:
    body = bytearray()
    async for chunk in request.content.iter_any():
        body += chunk
        if len(body) > _MOST_ORDER:
            raise OrderError(f"it has more than {_MOST_ORDER} bytes")
    return bytes(body)


def _line(event: Event) -> bytes:
    return orjson.dumps(event) + b"\n"


def _answer(status: HTTPStatus, content: Event) -> web.Response:
    return web.Response(status=status, body=orjson.dumps(content), content_type="application/json")
