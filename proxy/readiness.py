"""Whether enough of the registries answer: they are asked side by side, and none waits for another that hangs."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Collection, Mapping
from http import HTTPStatus
from typing import Final, Literal

from multidict import CIMultiDict

from proxy.auth.identity import Identity
from proxy.logs import bind_upstream, get_logger
from proxy.repository import DEFAULT_UPSTREAM
from proxy.upstream.registry import UpstreamRegistry, Upstreams
from proxy.upstream.replies import UpstreamError

_TIMEOUT: Final = 2.0
_REMEMBERED: Final = 1.0
"""Seconds: probes of many kinds must not become load on the registry."""
_GRACE: Final = 0.25
"""Seconds for registries on which nothing depends; one that is slower is told of by what it said before."""
_ANONYMOUS: Final = Identity.of(CIMultiDict())

When = Literal["default", "any", "all"]
"""Which registries must answer."""


class RegistryHealth:
    """Whether one registry answers."""

    def __init__(self, upstream: UpstreamRegistry, name: str, group: asyncio.TaskGroup) -> None:
        """Ask nothing yet.

        Args:
            upstream: the registry.
            name: as ``Repository.upstream`` has it.
            group: owns the questions, which go on without those who wanted to know.
        """
        self._upstream = upstream
        self._name = name
        self._group = group
        self._question: asyncio.Task[None] | None = None
        self._asked_at = -_REMEMBERED
        self.problem: str | None = f"the registry at {upstream.url} has not answered yet"
        """Why it does not count as answering; None: it does."""

    def ask(self) -> asyncio.Task[None] | None:
        """Return the question whose end makes ``problem`` true of now; None where it is."""
        if self._question is None and time.monotonic() - self._asked_at >= _REMEMBERED:
            group = self._group
            self._question = group.create_task(self._ask())
        return self._question

    def end(self) -> None:
        """Ask no more."""
        if self._question is not None:
            self._question.cancel()

    async def _ask(self) -> None:
        bind_upstream(self._name)
        try:
            self.problem = await self._found()
        except Exception as error:  # noqa: BLE001 - the other registries are asked on
            get_logger().error("the registry's health is unknown", exc_info=True)
            self.problem = f"the registry at {self._upstream.url} cannot be asked: {type(error).__name__}"
        finally:
            self._asked_at = time.monotonic()
            self._question = None

    async def _found(self) -> str | None:
        """Any answer will do, 401 too: it is a registry that wants credentials.

        Of several origins, a single healthy one suffices; the background probes know.
        """
        origins = self._upstream.origins.all
        if len(origins) > 1:
            is_any_well = any(one.is_up and one.has_answered for one in origins)
            return None if is_any_well else f"none of the registries at {self._upstream.url} answers"
        try:
            async with asyncio.timeout(_TIMEOUT):
                reply = await self._upstream.head("/v2/", _ANONYMOUS, "*/*")
        except TimeoutError:
            return f"the registry at {self._upstream.url} does not answer within {_TIMEOUT:g} s"
        except UpstreamError as error:
            return str(error)
        is_failing = reply.status >= HTTPStatus.INTERNAL_SERVER_ERROR
        return f"the registry answers {reply.status}" if is_failing else None


class Readiness:
    """Whether enough of the registries answer."""

    def __init__(self, registries: Mapping[str, RegistryHealth], when: When) -> None:
        """``registries``: by the name that ``Repository.upstream`` has; ``when``: which of them must answer."""
        self._registries = registries
        self._when = when

    @classmethod
    @contextlib.asynccontextmanager
    async def open(cls, upstreams: Upstreams, when: When) -> AsyncIterator[Readiness]:
        """Ask ``upstreams``, whenever someone wants to know, for the time of the context."""
        async with asyncio.TaskGroup() as group:
            registries = {name: RegistryHealth(one, name, group) for name, one in upstreams.items()}
            try:
                yield cls(registries, when)
            finally:
                for one in registries.values():
                    one.end()

    @property
    def problems(self) -> Mapping[str, str | None]:
        """What is wrong with each registry, as far as it is known; None: nothing."""
        return {name: one.problem for name, one in self._registries.items()}

    async def is_given(self) -> bool:
        """Say whether enough registries answer, as soon as that is certain: within the time-out of a question."""
        grace_ends = time.monotonic() + _GRACE
        asked = {name: question for name, one in self._registries.items() if (question := one.ask()) is not None}
        while True:
            unknown = {name: question for name, question in asked.items() if not question.done()}
            is_enough = self._verdict(unknown)
            if not unknown or (is_enough is not None and time.monotonic() >= grace_ends):
                return bool(is_enough)
            left = None if is_enough is None else max(0.0, grace_ends - time.monotonic())
            await asyncio.wait(unknown.values(), timeout=left, return_when=asyncio.FIRST_COMPLETED)

    def _verdict(self, unknown: Collection[str]) -> bool | None:
        """Say whether enough answer; None where that depends on those that are still being asked."""
        if self._when == "default":
            return None if DEFAULT_UPSTREAM in unknown else self._registries[DEFAULT_UPSTREAM].problem is None
        known = self._registries.keys() - unknown
        deciding = self._when == "any"
        if any((self._registries[name].problem is None) == deciding for name in known):
            return deciding
        return None if unknown else not deciding
