"""Pages of tags and partitions.

The registry's tags come page by page, the partitions of the tags of a page are looked up, and both are merged in
lexical order, in which ``v1--edge`` comes behind ``v1``, though not always right behind it. Nothing is remembered
between two pages: a client goes on behind the last entry that it has, be it a tag or one of ours. The partitions behind
that entry whose tag is before it are those of the few tags that it begins with, which are looked up again.

A list is whole, or ends where its ``Link`` says how to go on, or is an error: a program that takes the newest of a list
must not be given an older one since a look-up failed. A registry whose pages go by anything but the tags is answered
for with its own list.
"""

from __future__ import annotations

import asyncio
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Final
from urllib.parse import quote

from cachetools import TTLCache

from proxy.auth.identity import Identity
from proxy.logs import get_logger
from proxy.repository import Repository
from proxy.tags.look_ups import AT_A_TIME, LookUps, NamesOf
from proxy.tags.pages import ListedTags, TagsQuestion, tags_before
from proxy.upstream.registry import Upstreams
from proxy.upstream.replies import Reply
from twodfs.oci.documents import Json

MOST_ENTRIES: Final = 10_000
"""Of one page."""
_MOST_TRIES: Final = 4
_MOST_BYTES: Final = 4 * 2**20
_MOST_REPOSITORIES: Final = 4096
_REMEMBERED_SECONDS: Final = 300.0


@dataclass(frozen=True, slots=True)
class TagPage:
    """A page of ours.

    Attributes:
        reply: the registry's, whose headers go along.
        document: the registry's, with partitions among its tags.
        following: path and query of the page that follows; None where there is none.
    """

    reply: Reply
    document: Json = field(repr=False)
    following: str | None


class TagList:
    """Lists tags and named partitions."""

    def __init__(self, upstreams: Upstreams, names_of: NamesOf) -> None:
        self._upstreams = upstreams
        self._names_of = names_of
        self._places = asyncio.Semaphore(AT_A_TIME)
        self._gives_all: TTLCache[Repository, bool] = TTLCache(_MOST_REPOSITORIES, _REMEMBERED_SECONDS)
        self._told: TTLCache[Repository, bool] = TTLCache(_MOST_REPOSITORIES, _REMEMBERED_SECONDS)

    async def page(self, repository: Repository, identity: Identity, *, most: int | None, last: str) -> TagPage | Reply:
        """Return the tags and partitions behind ``last``, or the registry's own answer.

        Args:
            repository: whose tags.
            identity: the client's own credentials; a partition is listed where they may read the image it is of.
            most: entries; None: as many as the registry likes.
            last: a tag or a partition tag; empty: from the first.

        Raises:
            TooLongError: the registry's list is longer than is read here.
            RefusedError, UpstreamError: the registry cannot answer now.
            TooManyRequestsError: too many images are looked into before it.
        """
        question = TagsQuestion(repository, identity, most)
        look_ups = LookUps(self._names_of, question, self._places)
        ours, cursor = await _behind(look_ups, last)
        reply, listed = await self._ask(question, cursor)
        tries = _MOST_TRIES
        while listed is not None and not listed.is_last and listed.tags[-1] <= last:
            # A page of other tags is between a tag and its partition.
            tries -= 1
            reply, listed = await self._ask(question, listed.tags[-1] if tries else last)
        if listed is None:
            return reply
        merged = await _merged(listed, ours, last, most, look_ups)
        if merged.entries == list(listed.tags) and merged.has_more == listed.has_link:
            return reply
        is_page = merged.has_more or len(listed.tags) == most
        if listed.is_doubtful and is_page and not await self._always_gives_all(question, listed.tags):
            self._tell(repository)
            return reply
        following = question.target(merged.entries[-1]) if merged.has_more else None
        return TagPage(reply, {**listed.document, "tags": merged.entries}, following)

    async def _ask(self, question: TagsQuestion, last: str) -> tuple[Reply, ListedTags | None]:
        reply = await self._get(question, question.target(last))
        if reply.status != HTTPStatus.OK:
            return reply, None
        listed = ListedTags.of(reply, question, last)
        if listed is None:
            self._tell(question.repository)
        return reply, listed

    async def _get(self, question: TagsQuestion, target: str) -> Reply:
        upstream = self._upstreams[question.repository.upstream]
        return await upstream.get(target, question.identity, limit=_MOST_BYTES, accept="application/json")

    async def _always_gives_all(self, question: TagsQuestion, tags: Sequence[str]) -> bool:
        """Say whether the registry gives the whole list for any page, so that pages of it are ours to make."""
        known = self._gives_all.get(question.repository)
        if known is None:
            reply = await self._get(question, f"{question.path}?last={quote(tags[0], safe='')}&n=1")
            listed = ListedTags.of(reply, question, tags[0]) if reply.status == HTTPStatus.OK else None
            known = self._gives_all[question.repository] = listed is not None and tags[0] in listed.tags
        return known

    def _tell(self, repository: Repository) -> None:
        if repository not in self._told:
            self._told[repository] = True
            get_logger().warning(
                "partitions are not listed: the registry's list of tags is not in lexical order, or has marks of its "
                "own for pages",
                repository=repository.name,
            )


async def _behind(look_ups: LookUps, last: str) -> tuple[set[str], str]:
    """Return the partitions behind ``last`` of tags that are not, and the registry's tag to go on behind.

    A registry is not told a tag of ours: some know no place behind a tag that they do not have.
    """
    tags = tags_before(last)
    ours: set[str] = set()
    cursor = last
    for tag, found in zip(tags, await look_ups.partitions(tags), strict=True):
        if isinstance(found, Exception):
            raise found
        ours.update(one for one in found if one > last)
        cursor = tag if last in found else cursor
    return ours, cursor


@dataclass(frozen=True, slots=True)
class _Merged:
    entries: list[str]
    has_more: bool


async def _merged(listed: ListedTags, ours: set[str], last: str, most: int | None, look_ups: LookUps) -> _Merged:
    """Return the entries of a page: tags behind ``last``, their partitions, and ``ours``.

    Where more of the registry's tags may follow, a partition behind the last of the listed tags has to wait: one of
    them may come before it.
    """
    limit = min(most or MOST_ENTRIES, MOST_ENTRIES)
    tags = listed.tags[bisect_right(listed.tags, last) :]
    taken = 0
    problem: Exception | None = None
    while taken < len(tags) and look_ups.left and not problem and taken + _count(ours, tags[taken]) < limit:
        batch = look_ups.batch(tags, taken)
        for found in await look_ups.partitions(batch):
            if isinstance(found, Exception):
                problem = found
                break
            ours.update(found)
            taken += 1
    is_whole = listed.is_last and taken == len(tags)
    if not is_whole:
        before = tags[taken] if taken < len(tags) else tags[-1]
        ours = {one for one in ours if one < before}
    entries = sorted({*tags[:taken], *ours})
    if problem is not None and not entries:
        raise problem
    if taken < len(tags) and len(entries) < limit:
        get_logger().info("list of tags given in part", reason=str(problem or "tags looked up"), entries=len(entries))
    return _Merged(entries[:limit], has_more=not is_whole or len(entries) > limit)


def _count(ours: set[str], before: str) -> int:
    return sum(one < before for one in ours)
