"""What the registry is asked for, and the pages that it answers with. Pure.

The distribution-spec ("Listing Tags") has tags in lexical order, pages of ``n`` that begin behind ``last``, and a
``Link`` to the page that follows. Registries differ: CNCF Distribution 2 gives all tags at once, in any order, whatever
``n`` and ``last`` say; others leave the ``Link`` out; some go by the age of tags, or have marks of their own for pages.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import pairwise
from typing import Final
from urllib.parse import parse_qs, quote

from aiohttp import hdrs

from proxy.auth.identity import Identity
from proxy.repository import Repository
from proxy.tags.names import SEPARATOR, may_have_partitions
from proxy.upstream.replies import Reply
from twodfs.errors import FormatError
from twodfs.oci.documents import Json, expect, list_in, parse_object
from twodfs.oci.referrers import next_page

_BEFORE_ALL_OTHERS: Final = "-"
"""No lower character is in tags."""


@dataclass(frozen=True, slots=True)
class TagsQuestion:
    """A client's question, as it is put to the registry.

    Attributes:
        repository: whose tags.
        identity: the client's own credentials.
        most: tags of a page; None: as many as the registry likes.
    """

    repository: Repository
    identity: Identity
    most: int | None

    @property
    def path(self) -> str:
        """Where the registry lists tags."""
        return f"/v2/{self.repository.name}/tags/list"

    def target(self, last: str) -> str:
        """Return path and query of the page behind ``last``; empty: of the first."""
        parts = [f"last={quote(last, safe='')}"] if last else []
        parts += [] if self.most is None else [f"n={self.most}"]
        return f"{self.path}?{'&'.join(parts)}" if parts else self.path


@dataclass(frozen=True, slots=True)
class ListedTags:
    """A page of the registry's that partitions can be put into.

    Attributes:
        document: as the registry wrote it.
        tags: in lexical order, each once.
        has_link: whether it names a page that follows.
        is_last: whether it is certain that nothing follows.
        is_doubtful: whether it is the first and only page, in another order: where it is cut in two, who knows how the
            registry would go on.
    """

    document: Json = field(repr=False)
    tags: tuple[str, ...] = field(repr=False)
    has_link: bool
    is_last: bool
    is_doubtful: bool = False

    @classmethod
    def of(cls, reply: Reply, question: TagsQuestion, last: str) -> ListedTags | None:
        """Return what the registry replied to ``question``, behind ``last``; None where nothing can be put into it.

        Linear in its bytes, but for the sorting of a list that is not sorted.
        """
        try:
            document = parse_object(reply.body)
            given = tuple(expect(tag, str, "tags") for tag in list_in(document, "tags"))
        except FormatError:
            return None
        is_in_order = all(one < other for one, other in pairwise((last, *given) if last else given))
        if hdrs.LINK in reply.headers:
            following = next_page(", ".join(reply.headers.getall(hdrs.LINK)), question.path) or ""
            mark = parse_qs(following.partition("?")[2]).get("last")
            if not given or not is_in_order or mark != [given[-1]]:
                return None
            return cls(document, given, has_link=True, is_last=False)
        # A full page is the last one, or its Link was left out.
        is_last = len(given) != question.most
        if is_in_order:
            return cls(document, given, has_link=False, is_last=is_last)
        ignores_last = bool(last) and last in given
        if last and not ignores_last:
            return None
        is_doubtful = not last and (question.most is None or len(given) <= question.most)
        return cls(document, tuple(sorted(set(given))), has_link=False, is_last=True, is_doubtful=is_doubtful)


def tags_before(last: str) -> list[str]:
    """Return every tag that is not behind ``last``, and may have partitions that are.

    What stands between a tag and its partition ``TAG--NAME`` begins with the tag, and goes on with the lowest
    character there is.
    """
    lengths = {at for at in range(1, len(last)) if last.startswith(SEPARATOR, at)}
    if last:
        lengths.add(len(last))
    if last.endswith(_BEFORE_ALL_OTHERS):
        lengths.add(len(last) - 1)
    return [last[:length] for length in sorted(lengths) if may_have_partitions(last[:length])]
