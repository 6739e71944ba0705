"""The proxy's own credentials on a request: put in, and renewed once where the registry refuses them."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Callable, Iterator
from http import HTTPStatus
from typing import Final

import aiohttp
from aiohttp import hdrs
from multidict import CIMultiDict, CIMultiDictProxy

from proxy.auth.credentials import CredentialsError
from proxy.requests.kinds import RegistryRequest
from proxy.requests.scope import Scope, ScopeError
from proxy.upstream.authority import Authority
from proxy.upstream.replies import REFUSALS, UpstreamError
from proxy.upstream.session import Asked

_PERSONAL: Final = (hdrs.AUTHORIZATION, hdrs.COOKIE)


class ServiceAuthorisation:
    """Asks the registry as the proxy itself, in the place of the client."""

    def __init__(self, authority: Authority) -> None:
        self._authority = authority

    @contextlib.asynccontextmanager
    async def asked(
        self, request: RegistryRequest, headers: CIMultiDict[str], send: Callable[[], Asked], *, has_body: bool
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """Yield the answer to our own credentials, renewed where they are refused."""
        needed = needs(request)
        shown = await self.authorise(headers, needed)
        async with contextlib.AsyncExitStack() as stack:
            response = await stack.enter_async_context(send())
            renewed = await self.renewed(needed, shown, response.status, response.headers)
            if renewed is not None and has_body:
                # The part of the client's body already read is gone, or may be on its way.
                response.close()
                raise UpstreamError("the proxy's own credentials for the registry were renewed: try again", status=503)
            if renewed is not None:
                response.release()
                headers[hdrs.AUTHORIZATION] = renewed
                response = await stack.enter_async_context(send())
            if response.status == HTTPStatus.UNAUTHORIZED:
                response.close()
                raise refused()
            yield response

    async def authorise(self, headers: CIMultiDict[str], needed: tuple[Scope, ...]) -> str | None:
        """Put our own credentials into ``headers``, in the place of the client's."""
        for name in _PERSONAL:
            headers.popall(name, None)
        with _own_credentials():
            shown = await self._authority.header(needed)
        if shown is not None:
            headers[hdrs.AUTHORIZATION] = shown
        return shown

    async def renewed(
        self, needed: tuple[Scope, ...], shown: str | None, status: int, headers: CIMultiDictProxy[str]
    ) -> str | None:
        """Return the credentials to send in place of refused ones; None when none were refused, or none are left."""
        if status not in REFUSALS:
            return None
        challenges = headers.getall(hdrs.WWW_AUTHENTICATE, ())
        with _own_credentials():
            return await self._authority.after_refusal(needed, shown, challenges)


def needs(request: RegistryRequest) -> tuple[Scope, ...]:
    """Return the scopes that a request needs; access control has seen to it that a client's can be read."""
    try:
        return request.scopes()
    except ScopeError as error:
        raise UpstreamError(str(error), status=403) from None


def refused() -> UpstreamError:
    """Return the error for clients when even renewed credentials are refused."""
    return UpstreamError(
        "the registry refuses this to the proxy's own credentials: check upstream.credentials",
        status=403,
    )


@contextlib.contextmanager
def _own_credentials() -> Iterator[None]:
    try:
        yield
    except CredentialsError as error:
        raise UpstreamError(f"the proxy's own credentials for the registry cannot be had: {error}") from None
