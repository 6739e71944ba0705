"""A registry that lists tags in one of the manners that registries have; nothing of it is on a network."""

import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, cast
from urllib.parse import parse_qs, urlsplit

from multidict import CIMultiDict, CIMultiDictProxy

from proxy.auth.identity import Identity
from proxy.repository import DEFAULT_UPSTREAM, Repository
from proxy.tags.tag_list import TagList, TagPage
from proxy.upstream.registry import Upstreams
from proxy.upstream.replies import Reply

REPOSITORY = Repository(DEFAULT_UPSTREAM, "team/model")
CLIENT = Identity.of({"Authorization": "Bearer alice"})
MANNERS = ("linked", "unlinked", "short", "everything", "everything in order")
"""As the specification has it; without a Link; at most three tags a page; all at once, whatever is asked for."""
OWN_ORDER = "by age"
"""Pages in the order of the tags given."""


@dataclass
class TagRegistry:
    """The tags of one repository, and which names there are behind each."""

    tags: Sequence[str]
    names: Mapping[str, Sequence[str]] = field(default_factory=dict)
    manner: str = "linked"
    asked: list[str] = field(default_factory=list)
    looked_up: list[str] = field(default_factory=list)
    look_up: Callable[[str], Awaitable[None]] | None = None

    def tag_list(self) -> TagList:
        return TagList(cast("Upstreams", {DEFAULT_UPSTREAM: self}), self.names_of)

    async def names_of(self, _: Repository, tag: str, __: Identity) -> Sequence[str]:
        self.looked_up.append(tag)
        if self.look_up is not None:
            await self.look_up(tag)
        return self.names.get(tag, ()) if tag in self.tags else ()

    @property
    def everything(self) -> list[str]:
        """Tags and partitions, in lexical order."""
        ours = {f"{tag}--{name}" for tag in self.tags for name in self.names.get(tag, ())}
        return sorted({*self.tags, *ours})

    async def get(self, target: str, identity: Identity, **_: Any) -> Reply:
        assert identity == CLIENT
        self.asked.append(target)
        asked = parse_qs(urlsplit(target).query)
        last, most = asked.get("last", [""])[0], int(asked["n"][0]) if "n" in asked else None
        if self.manner.startswith("everything"):
            return self._reply(sorted(self.tags) if self.manner.endswith("order") else self.tags)
        if self.manner == OWN_ORDER:
            tags = list(self.tags)
            tags = tags[tags.index(last) + 1 :] if last in tags else tags
        else:
            tags = [tag for tag in sorted(self.tags) if tag > last]
        if self.manner == "short":
            most = min(3, most or 3)
        page = tags if most is None else tags[:most]
        link = f'</v2/team/model/tags/list?last={page[-1]}&n={most}>; rel="next"' if len(page) < len(tags) else ""
        return self._reply(page, "" if self.manner == "unlinked" else link)

    def _reply(self, tags: Sequence[str], link: str = "") -> Reply:
        headers = CIMultiDict({"Content-Type": "application/json"} | ({"Link": link} if link else {}))
        body = json.dumps({"name": "team/model", "tags": list(tags)}).encode()
        return Reply(200, "OK", CIMultiDictProxy(headers), body)


def read(answer: TagPage | Reply) -> tuple[list[str], str | None]:
    """Return the entries of a page, and the target of the one that follows."""
    if isinstance(answer, TagPage):
        return answer.document["tags"], answer.following
    return json.loads(answer.body)["tags"], answer.headers.get("Link", "").partition(">")[0].removeprefix("<") or None


async def followed(tags: TagList, most: int | None) -> list[list[str]]:
    """Return the pages that a client gets that goes where each says."""
    pages: list[list[str]] = []
    last = ""
    while True:
        entries, following = read(await tags.page(REPOSITORY, CLIENT, most=most, last=last))
        pages.append(entries)
        if following is None:
            return pages
        asked = parse_qs(urlsplit(following).query)
        last, most = asked["last"][0], int(asked["n"][0]) if "n" in asked else None
