"""A blob of the registry from any offset on, asked for with credentials that are fresh.

An answer is given to the caller only where it fits what is known: a part must be exactly the rest of the blob
(RFC 9110, section 14.4), the whole must have the blob's length. What does not fit is never a reason to go on.
"""

from __future__ import annotations

import asyncio
import contextlib
import email.utils
import math
import re
import time
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Final, Protocol

import aiohttp
from aiohttp import hdrs

from proxy.auth.identity import Identity
from proxy.clients.limits import TooManyRequestsError
from proxy.repository import DEFAULT_UPSTREAM, Repository
from proxy.upstream.errors import describe
from proxy.upstream.replies import MAX_REFUSAL, RefusedError, Reply, UpstreamError, read
from twodfs.oci.digest import Digest

_CONTENT_RANGE: Final = re.compile(r"bytes ([0-9]{1,19})-([0-9]{1,19})/([0-9]{1,19})")
_DIGEST_HEADER: Final = "Docker-Content-Digest"
_LONGEST_PAUSE: Final = 30.0
_MOST_READERS: Final = 32
_LOOKS: Final = 0.25
"""Seconds between two looks at whether an attempt makes headway."""
_FIRST_FAULT: Final = 500


class BlobRegistry(Protocol):
    """The part of ``Upstream`` that blobs come from."""

    def blob(
        self, path: str, identity: Identity, first: int = 0
    ) -> contextlib.AbstractAsyncContextManager[aiohttp.ClientResponse]:
        """Ask for a blob from its byte ``first`` on; see ``Upstream.blob``."""


class PausedError(Exception):
    """The registry gave nothing now, and may later: in ``seconds``, where it says so."""

    def __init__(self, reason: str, seconds: float = 0.0) -> None:
        super().__init__(reason)
        self.seconds = seconds


class GivenUpError(Exception):
    """The registry that is being asked hangs, and readers of another one wait."""


class ChangedError(Exception):
    """What the registry gives now does not go on from what it gave before."""


@dataclass(frozen=True, slots=True)
class Arrival:
    """An answer whose body is to be read.

    Attributes:
        answer: of the registry.
        first: the blob's byte that its body begins with.
        size: bytes of the whole blob; None where nobody says.
        is_plain: whether the body is the blob's bytes as they are.
    """

    answer: aiohttp.ClientResponse
    first: int
    size: int | None
    is_plain: bool


class BlobSource:
    """Asks for one blob on behalf of its readers, the last one first."""

    def __init__(
        self,
        upstreams: Mapping[str, BlobRegistry],
        digest: Digest,
        silence: Mapping[str, float],
        patience: float = math.inf,
    ) -> None:
        """Ask for nobody yet.

        Args:
            upstreams: the registries.
            digest: of the blob.
            silence: seconds for which each registry may send nothing.
            patience: seconds that it may send nothing while readers of another one wait.
        """
        self._patience = patience
        self._asked_of: str | None = None
        self._given_up: set[str] = set()
        self._upstreams = upstreams
        self._digest = digest
        self._silences = silence
        self._readers: dict[tuple[Repository, bytes], Identity] = {}
        self._gives_parts = True
        self._accepted: set[tuple[Repository, bytes]] = set()
        self._refused: dict[tuple[Repository, bytes], Reply] = {}
        self._named: set[tuple[Repository, bytes]] = set()

    @property
    def repository(self) -> Repository | None:
        """That of the last reader."""
        return next(reversed(self._readers))[0] if self._readers else None

    @property
    def silence(self) -> float:
        """Seconds for which the registry that is asked may send nothing."""
        return self._silences[self._asked_of or DEFAULT_UPSTREAM]

    @property
    def registries(self) -> set[str]:
        """Of the readers, by the names that ``Repository.upstream`` has."""
        return {repository.upstream for repository, _ in self._readers}

    def add(self, repository: Repository, identity: Identity) -> None:
        """Ask as this reader from now on, who may read the blob in ``repository``."""
        key = (repository, identity.fingerprint)
        self._readers.pop(key, None)
        self._readers[key] = identity
        while len(self._readers) > _MOST_READERS:
            # Strangers that only ask must not take the place of those whom the registry gave the blob.
            strangers = (one for one in self._readers if one not in self._accepted)
            del self._readers[next(strangers, next(iter(self._readers)))]

    def has_accepted(self, repository: Repository, identity: Identity) -> bool:
        """Say whether the registry gave the blob to this reader."""
        return (repository, identity.fingerprint) in self._accepted

    def has_named(self, repository: Repository, identity: Identity) -> bool:
        """Say whether its yes to this reader named the blob; of another nobody knows whose it is before the end."""
        return (repository, identity.fingerprint) in self._named

    def refusal(self, repository: Repository, identity: Identity) -> Reply | None:
        """Return the registry's no to this reader, where others are asked for after it."""
        return self._refused.get((repository, identity.fingerprint))

    @contextlib.asynccontextmanager
    async def unless_it_hangs(self, position: Callable[[], int]) -> AsyncIterator[None]:
        """End an attempt that makes no headway while another registry could be asked; each is given up once.

        Args:
            position: where the attempt is.

        Raises:
            GivenUpError: it was ended; the next one asks another registry.
        """
        loop = asyncio.get_running_loop()
        seen = position(), loop.time()
        timer: asyncio.TimerHandle | None = None

        def look() -> None:
            nonlocal seen, timer
            now = loop.time()
            if position() != seen[0]:
                seen = position(), now
            if now - seen[1] >= self._patience and self._has_another():
                attempt.reschedule(now)
                return
            timer = loop.call_later(_LOOKS, look)

        try:
            async with asyncio.timeout(None) as attempt:
                timer = loop.call_later(_LOOKS, look)
                yield
        except TimeoutError:
            if not attempt.expired():
                raise
            self._give_up()
            raise GivenUpError("the registry sends nothing, and another one may have it") from None
        finally:
            if timer is not None:
                timer.cancel()

    def _give_up(self) -> None:
        """Ask another registry than this one next."""
        if self._asked_of is not None:
            self._given_up.add(self._asked_of)
        for key in [one for one in self._readers if one[0].upstream not in self._given_up]:
            self._readers[key] = self._readers.pop(key)  # the last one is asked for first

    def _has_another(self) -> bool:
        return any(key[0].upstream not in {self._asked_of, *self._given_up} for key in self._readers)

    @contextlib.asynccontextmanager
    async def open(self, first: int, size: int | None) -> AsyncIterator[Arrival]:
        """Yield an answer for the bytes of the blob from ``first`` on, which may begin with its first byte instead.

        ``size`` is the blob's, where it is known; with ``first`` it must be.

        Raises:
            RefusedError: the registry refuses it to each reader.
            UpstreamError: it could not be asked; with status 403 the proxy's own credentials are refused.
            PausedError: it has no answer now.
            ChangedError: what it has does not fit.
        """
        async with contextlib.AsyncExitStack() as stack:
            answer = await self._answer(stack, first if self._gives_parts else 0)
            yield self._judged(answer, first, size)

    async def _answer(self, stack: contextlib.AsyncExitStack, first: int) -> aiohttp.ClientResponse:
        """Return a success of the registry's, whose resources are in ``stack``."""
        while True:
            if not self._readers:
                raise UpstreamError(f"nobody is left who may ask the registry for {self._digest}", status=403)
            key, identity = next(reversed(self._readers.items()))
            self._asked_of = key[0].upstream
            async with contextlib.AsyncExitStack() as asking:
                try:
                    answer = await self._asked(asking, key[0], identity, first)
                except RefusedError as error:
                    if pause_of(error) is not None or len(self._readers) == 1:
                        raise
                    self._readers.pop(key, None)  # its token has run out; there are others
                    if len(self._refused) < _MOST_READERS:
                        self._refused[key] = error.reply
                    continue
                self._accepted.add(key)
                if _DIGEST_HEADER in answer.headers:
                    self._named.add(key)
                stack.push_async_callback(asking.pop_all().aclose)
                return answer

    async def _asked(
        self, asking: contextlib.AsyncExitStack, repository: Repository, identity: Identity, first: int
    ) -> aiohttp.ClientResponse:
        """Ask as one reader, and return a success of the registry's, whose resources are in ``asking``."""
        path = f"/v2/{repository.name}/blobs/{self._digest}"
        try:
            async with asyncio.timeout(self.silence):
                upstream = self._upstreams[repository.upstream]
                answer = await asking.enter_async_context(upstream.blob(path, identity, first))
                if not answer.ok and answer.status != HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
                    raise RefusedError(await read(answer, MAX_REFUSAL, None))
        except TimeoutError:
            raise UpstreamError(f"the registry does not begin to send {self._digest}", status=504) from None
        except (aiohttp.ClientError, OSError) as error:
            raise UpstreamError(f"the registry broke off: {describe(error)}") from None
        except TooManyRequestsError as error:
            raise PausedError(str(error)) from None
        if answer.ok and self._is_page(answer):
            raise UpstreamError("something else answers in the place of the registry")
        return answer

    def _is_page(self, answer: aiohttp.ClientResponse) -> bool:
        """Say whether a yes is that of a portal, which says it to everyone."""
        named = answer.headers.get(_DIGEST_HEADER, self._digest)
        return named != self._digest or answer.content_type == "text/html"

    def _judged(self, answer: aiohttp.ClientResponse, first: int, size: int | None) -> Arrival:
        """Return what the answer gives, where that fits."""
        is_plain = answer.headers.get(hdrs.CONTENT_ENCODING, "identity").lower() == "identity"
        if first and not is_plain:
            raise PausedError("the registry compresses its answer, which was not asked for")
        if answer.status == HTTPStatus.OK:
            length = answer.content_length
            if first and length is not None and length != size:
                raise ChangedError(f"the blob has {length} bytes now, and had {size}")
            return Arrival(answer, 0, length if length is not None else size, is_plain)
        if not first:
            raise UpstreamError(f"the registry answers {answer.status}, which is not what was asked for")
        if answer.status == HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
            raise ChangedError("the blob ends before the bytes that were given before")
        part = _CONTENT_RANGE.fullmatch(answer.headers.get(hdrs.CONTENT_RANGE, ""))
        if part is not None and size is not None and int(part[3]) != size:
            raise ChangedError(f"the blob has {part[3]} bytes now, and had {size}")
        if (
            answer.status != HTTPStatus.PARTIAL_CONTENT
            or part is None
            or size is None
            or (int(part[1]), int(part[2])) != (first, size - 1)
            or answer.content_length not in (None, size - first)
        ):
            self._gives_parts = False  # the whole can be compared
            raise PausedError("the registry does not give the part that was asked for")
        return Arrival(answer, first, size, is_plain)


def pause_of(error: Exception) -> float | None:
    """Return how many seconds the registry wants to be left alone; 0: it does not say; None: for good."""
    if isinstance(error, PausedError):
        return error.seconds
    if isinstance(error, RefusedError):
        status = error.reply.status
        if status not in (HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.REQUEST_TIMEOUT) and status < _FIRST_FAULT:
            return None
        return _seconds(error.reply.headers.get(hdrs.RETRY_AFTER, ""))
    if isinstance(error, UpstreamError):
        return None if error.status == HTTPStatus.FORBIDDEN else 0.0
    return 0.0


def _seconds(retry_after: str) -> float:
    """Return the seconds that a ``Retry-After`` says (RFC 9110, section 10.2.3), within bounds."""
    if re.fullmatch(r"[0-9]{1,9}", retry_after):
        return min(float(retry_after), _LONGEST_PAUSE)
    try:
        when = email.utils.parsedate_to_datetime(retry_after).timestamp()
    except (ValueError, TypeError, OverflowError):
        return 0.0
    return min(max(when - time.time(), 0.0), _LONGEST_PAUSE)
