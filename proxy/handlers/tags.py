"""Lists of tags, with the named partitions of their images."""

from __future__ import annotations

from http import HTTPStatus
from typing import Final

import orjson
from aiohttp import hdrs
from multidict import CIMultiDictProxy

from proxy.handlers.errors import relayed_reply
from proxy.handlers.exchange import Answer, Call, WholeBody
from proxy.handlers.headers import LocationRewriter
from proxy.handlers.relay import Relay
from proxy.requests.kinds import TagsPull
from proxy.tags.tag_list import TagList
from proxy.upstream.replies import Reply, TooLongError

_OF_THE_REGISTRYS_BODY: Final = (
    hdrs.CONTENT_LENGTH,
    hdrs.CONTENT_RANGE,
    hdrs.CONTENT_MD5,
    hdrs.ETAG,
    hdrs.LAST_MODIFIED,
    hdrs.LINK,
    "Digest",
)


class TagsHandler:
    """Answers with a page of tags and partitions, or with the registry's own answer."""

    def __init__(self, tags: TagList, locations: LocationRewriter, relay: Relay) -> None:
        self._tags = tags
        self._locations = locations
        self._relay = relay

    async def answer(self, call: Call[TagsPull]) -> Answer:
        """Return the page; raises like ``TagList.page``, but passes a list on that is too long."""
        request = call.request
        try:
            page = await self._tags.page(request.repository, call.identity, most=request.most, last=request.last)
        except TooLongError:
            return await self._relay.open(call)
        if isinstance(page, Reply):
            return relayed_reply(page, self._locations, call.http)
        given = page.reply.headers.copy()
        for name in _OF_THE_REGISTRYS_BODY:
            given.popall(name, None)
        if page.following is not None:
            given[hdrs.LINK] = f'<{page.following}>; rel="next"'
        body = orjson.dumps(page.document)
        headers = self._locations.forwarded_response(CIMultiDictProxy(given), call.http)
        headers[hdrs.CONTENT_LENGTH] = str(len(body))
        return Answer(HTTPStatus.OK, headers, WholeBody(body))
