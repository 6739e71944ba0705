"""All blobs that are on their way to this node's disk, whichever of its processes fetches them."""

from __future__ import annotations

import asyncio
import contextlib
import functools
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Final, Self

from proxy.auth.identity import Identity
from proxy.bodies.receive import Receiver
from proxy.bodies.threads import Threads
from proxy.config.edge import EdgeConfig
from proxy.edge.disk.store import EdgeStore
from proxy.edge.filling.body import GrowingBlob
from proxy.edge.filling.fill import Fill, Outcome, Tools, UnfillableError
from proxy.edge.filling.flight import Flight
from proxy.edge.filling.follow import Followed, follow
from proxy.edge.filling.growth import Fate, Growth
from proxy.edge.filling.partial import Partial, claim, discard_unreadable, is_claimed
from proxy.edge.filling.passage import Passage
from proxy.edge.filling.source import BlobRegistry, BlobSource, PausedError
from proxy.edge.pace import Pace
from proxy.logs import get_logger
from proxy.metrics.catalogue import EDGE_FILLING
from proxy.repository import DEFAULT_UPSTREAM, Repository
from proxy.upstream.replies import RefusedError, UpstreamError
from twodfs.oci.digest import Digest

_MOST_GENERATIONS: Final = 8
"""How often one flight begins with a file: again where another process gave up, or the registry's blob changed."""
_MOST_CHANGES: Final = 2
_MOST_REFUSALS: Final = 4
"""How often a reader joins others who are refused, before it is told of that."""
_BEFORE_READERS: Final = 0.9
"""A fill loses patience with a silent registry a little before its readers do, who then wait for the next attempt."""
_SHA256: Final = "sha256:"


class Fills:
    """Fetches blobs, each once however many want it; open for the time of a context, which owns the work."""

    def __init__(
        self,
        store: EdgeStore,
        upstreams: Mapping[str, BlobRegistry],
        config: EdgeConfig,
        *,
        silence: Mapping[str, float],
        borrows: bool = True,
    ) -> None:
        """Prepare to fetch blobs of ``upstreams`` into ``store``.

        Args:
            store: where they go.
            upstreams: the registries, which follow redirects of blobs.
            config: whether a fill goes on without readers.
            silence: seconds for which readers wait for each registry when it sends nothing.
            borrows: whether sockets can be borrowed here.
        """
        self._store = store
        self._upstreams = upstreams
        self._is_background = config.background_fill
        self._silence = {name: _BEFORE_READERS * seconds for name, seconds in silence.items()}
        self._longest = max(self._silence.values())
        self._patience = config.offline_after
        self.borrows = borrows
        """Whether sockets can be borrowed here."""
        self._flights: dict[Digest, Flight] = {}
        self._group = asyncio.TaskGroup()
        self._stack = contextlib.AsyncExitStack()
        self._threads = Threads("edge-fill")
        self._tools = Tools(store.blobs, store.space, Receiver(self._threads, self._longest, borrows))

    async def __aenter__(self) -> Self:
        self._stack.enter_context(self._threads)
        await self._stack.enter_async_context(self._group)
        self._stack.enter_context(EDGE_FILLING.read_from(lambda: sum(one.is_filling for one in self._flights.values())))
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """End all fills; what has come stays, for a later one to go on with."""
        for flight in tuple(self._flights.values()):
            _cancel(flight)
        await self._stack.__aexit__(None, None, None)

    def is_under_way(self, digest: Digest) -> bool:
        """Say whether the blob is being fetched, here or in another process of the node."""
        return digest in self._flights or (digest.startswith(_SHA256) and is_claimed(self._store.directory, digest))

    async def join(
        self, digest: Digest, repository: Repository | None = None, identity: Identity | None = None
    ) -> GrowingBlob | None:
        """Return the blob where it is being fetched, for a reader who has the right to it; None where it is not.

        Where its process dies, the fill goes on with the credentials of those who gave some.

        Raises:
            RefusedError, UpstreamError: it was not begun after all.
        """
        if not self.is_under_way(digest):
            return None
        flight = self._flights.get(digest) or self._launch(digest, None)
        return await self._boarded(flight, repository, identity, None, is_joined=True)

    async def begin(
        self,
        repository: Repository,
        digest: Digest,
        identity: Identity,
        *,
        size: int | None = None,
        pace: Pace | None = None,
    ) -> GrowingBlob | None:
        """Return the blob as it comes, fetched with this reader's credentials where it is not under way.

        It is here as soon as its length is known. Where others have begun it, or a part of it is on the disk,
        nothing says that this reader may have it: ``is_joined`` is true then, and the caller is to find out.

        Args:
            repository: where the reader wants to read it.
            digest: of the blob.
            identity: the reader's.
            size: its length, where that is known: some registries do not say.
            pace: bounds the fill, until a reader comes who gives none.

        Raises:
            RefusedError: the registry refuses it, or does not have it.
            UpstreamError: the registry could not be asked.
        """
        if not digest.startswith(_SHA256):
            return None
        for left in range(_MOST_REFUSALS, -1, -1):
            flight = self._flights.get(digest)
            is_joined = flight is not None
            if flight is None:
                flight = self._launch(digest, size)
            try:
                return await self._boarded(flight, repository, identity, pace, is_joined=is_joined)
            except RefusedError:
                own = flight.source.refusal(repository, identity)
                if own is not None:
                    raise RefusedError(own) from None  # the last no was to another, for another repository perhaps
                if not is_joined or not left:
                    raise
        return None

    def _launch(self, digest: Digest, size: int | None) -> Flight:
        flight = Flight(digest, BlobSource(self._upstreams, digest, self._silence, self._patience), size)
        self._flights[digest] = flight
        group = self._group
        flight.task = group.create_task(self._drive(flight), name=f"fill {digest}")
        return flight

    async def _boarded(
        self,
        flight: Flight,
        repository: Repository | None,
        identity: Identity | None,
        pace: Pace | None,
        *,
        is_joined: bool,
    ) -> GrowingBlob | None:
        flight.add(repository, identity, pace)
        growth = None
        try:
            growth = await flight.given()
        finally:
            if growth is None:
                self._left(flight)
        if growth is None:
            return None
        is_named = False
        if repository is None or identity is None or not flight.source.has_accepted(repository, identity):
            is_joined = True
        elif not is_joined:
            is_named = flight.source.has_named(repository, identity)
        leave = _Once(functools.partial(self._closed, flight, growth))
        passage = Passage(flight.digest, flight.source, self._threads)
        return GrowingBlob(flight.digest, growth.size, is_joined, is_named, growth, passage, leave, self.borrows)

    def _closed(self, flight: Flight, growth: Growth) -> None:
        growth.leave()
        self._left(flight)

    def _left(self, flight: Flight) -> None:
        """Count one reader less; the last one ends the work, where nobody else needs it."""
        flight.readers -= 1
        is_whole = flight.growth is not None and flight.growth.fate is Fate.WHOLE
        if not flight.readers and not is_whole and not (flight.is_filling and self._is_background):
            self._forget(flight)
            _cancel(flight)

    def _forget(self, flight: Flight) -> None:
        if self._flights.get(flight.digest) is flight:
            del self._flights[flight.digest]

    async def _drive(self, flight: Flight) -> None:
        """Do the work of ``flight``, and tell its readers how it ended."""
        try:
            await self._work(flight)
            raise UnfillableError  # noqa: TRY301 - those who still wait
        except UnfillableError:
            self._forget(flight)
            flight.pass_on()
        except (RefusedError, UpstreamError) as error:
            self._forget(flight)
            flight.fail(error)
        except PausedError as error:
            self._forget(flight)
            flight.fail(UpstreamError(str(error), status=503))
        except OSError as error:
            get_logger().warning("edge disk cannot be used", digest=flight.digest, reason=error.strerror or str(error))
            self._forget(flight)
            flight.pass_on()
        except Exception:  # noqa: BLE001 - of this blob alone: the others go on
            get_logger().error("edge fill failed", digest=flight.digest, exc_info=True)
            self._forget(flight)
            flight.fail(UpstreamError("the proxy failed to fetch this blob; its log has the reason", status=500))
        finally:
            self._forget(flight)
            flight.fail(UpstreamError("the proxy stops", status=503))

    async def _work(self, flight: Flight) -> None:
        changes = 0
        for _ in range(_MOST_GENERATIONS):
            claimed = claim(self._store.directory, flight.digest)
            if claimed is None:
                if await self._found(flight):
                    return
                discard_unreadable(self._store.directory.blob(flight.digest))
                continue
            partial, is_ours = claimed
            try:
                if is_ours and partial.size and partial.announced() is None:
                    partial.remove()  # nobody can say what these bytes are
                elif await self._generation(flight, partial, is_ours=is_ours):
                    return
                else:
                    changes += is_ours
            finally:
                growth, flight.growth = flight.growth, None
                if growth is None:
                    partial.close()
                else:
                    growth.cut("the proxy stops")
                    growth.leave()
            if changes >= _MOST_CHANGES:
                raise UpstreamError(f"the registry gives other bytes for {flight.digest} each time")
        raise UnfillableError

    async def _found(self, flight: Flight) -> bool:
        """Give readers the blob, which is whole by now."""
        blob = await self._store.blobs.find(flight.digest)
        if blob is None:
            return False
        growth = Growth(blob.descriptor, blob.size, blob.close, is_whole=True)
        flight.start(growth)
        flight.growth = None
        growth.leave()
        return True

    async def _generation(self, flight: Flight, partial: Partial, *, is_ours: bool) -> bool:
        """Let ``partial`` become the blob; False where another file is to be begun.

        Raises:
            UnfillableError: nobody who may ask the registry waits for it, too.
        """
        if not is_ours:
            followed = await follow(partial, flight, lambda: self._silence_of(partial, flight))
            growth = flight.growth
            if followed is Followed.WHOLE and growth is not None:
                partial.share()
                growth.finish()
                return True
            if followed is Followed.STUCK and growth is None:
                raise UnfillableError
            if followed in {Followed.GONE, Followed.STUCK} and growth is not None:
                growth.advance(partial.size)
                growth.abandon()
                return True
            if followed is not Followed.OURS:
                return False
            if growth is None and partial.size and partial.announced() is None:
                partial.remove()
                return False
        try:
            if flight.source.repository is None and flight.growth is None:
                raise UnfillableError
            flight.is_filling = True
            outcome = await Fill(partial, flight, self._tools).run()
        finally:
            flight.is_filling = False
            if not partial.size:
                partial.remove()
            if not partial.is_adopted:
                partial.unlock()
        return outcome is not Outcome.CHANGED

    def _silence_of(self, partial: Partial, flight: Flight) -> float:
        """Return for how long another process may add nothing: readers here may have a registry that does not hang."""
        if len(self._upstreams) == 1 or flight.source.registries <= {partial.registry()}:
            return self._silence.get(partial.registry() or DEFAULT_UPSTREAM, self._longest)
        return self._patience


class _Once:
    """A call that is made once."""

    __slots__ = ("_call",)

    def __init__(self, call: Callable[[], None]) -> None:
        self._call: Callable[[], None] | None = call

    def __call__(self) -> None:
        call, self._call = self._call, None
        if call is not None:
            call()


def _cancel(flight: Flight) -> None:
    if flight.task is not None:
        flight.task.cancel()
