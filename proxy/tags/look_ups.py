"""The names for one page: so many at a time, and so long."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from http import HTTPStatus
from typing import Final

from proxy.auth.identity import Identity
from proxy.clients.limits import TooManyRequestsError
from proxy.repository import Repository
from proxy.tags.names import SEPARATOR, may_have_partitions
from proxy.tags.pages import TagsQuestion
from proxy.upstream.replies import RefusedError, UpstreamError
from twodfs.field.partition import MAX_TAG_LENGTH

MOST_LOOKED_UP: Final = 500
"""Tags for one page: some clients read 20 pages at most, which are 10,000 tags."""
AT_A_TIME: Final = 16
"""Tags that are looked up at the same time, for all clients together."""
_SECONDS: Final = 10.0

NamesOf = Callable[[Repository, str, Identity], Awaitable[Sequence[str]]]
"""The names that can follow a tag; ``NamesOfTags.of`` says what it raises."""


class LookUps:
    """Looks up the partitions of tags, for one page.

    Attributes:
        left: how many tags more may be looked up.
    """

    def __init__(self, names_of: NamesOf, question: TagsQuestion, places: asyncio.Semaphore) -> None:
        self._names_of = names_of
        self._question = question
        self._places = places
        self._deadline = asyncio.get_running_loop().time() + _SECONDS
        self.left = MOST_LOOKED_UP

    def batch(self, tags: Sequence[str], begin: int) -> Sequence[str]:
        """Return the tags from ``begin`` on of which as many are to be looked up as can be at a time."""
        end, places = begin, min(AT_A_TIME, self.left)
        self.left -= places
        while end < len(tags) and (places or not may_have_partitions(tags[end])):
            places -= may_have_partitions(tags[end])
            end += 1
        self.left += places
        return tags[begin:end]

    async def partitions(self, tags: Sequence[str]) -> list[list[str] | Exception]:
        """Return the partition tags of each of ``tags``, or why they cannot be known now."""
        async with asyncio.TaskGroup() as group:
            tasks = {tag: group.create_task(self._of(tag)) for tag in tags if may_have_partitions(tag)}
        return [tasks[tag].result() if tag in tasks else [] for tag in tags]

    async def _of(self, tag: str) -> list[str] | Exception:
        repository, identity = self._question.repository, self._question.identity
        try:
            async with asyncio.timeout_at(self._deadline), self._places:
                names = await self._names_of(repository, tag, identity)
        except TimeoutError:
            problem = f"the tags of {repository.name} could not be looked up in time; try again"
            return UpstreamError(problem, status=HTTPStatus.GATEWAY_TIMEOUT)
        except (RefusedError, UpstreamError, TooManyRequestsError) as error:
            return error
        return [one for one in (f"{tag}{SEPARATOR}{name}" for name in names) if len(one) <= MAX_TAG_LENGTH]
