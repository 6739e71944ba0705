"""As whom a job asks the registry: as the proxy itself, else with the credentials that came with the order.

Those live as long as the job. They go where clients' credentials go, to the registry and to token servers that
``auth.realm_hosts`` allows, and nowhere else.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

from aiohttp import hdrs

from proxy.auth.credentials import CredentialsError
from proxy.auth.identity import Identity, service
from proxy.auth.realm import RealmPolicy
from proxy.repository import Repository
from proxy.requests.scope import Scope
from proxy.upstream.authority import Authority
from proxy.upstream.registry import UpstreamRegistry
from proxy.upstream.replies import REFUSALS, RefusedError, UpstreamError
from twodfs.credentials.credentials import Credentials

T = TypeVar("T")

_CLIENT: Final = "prefetch"
"""The name under which a job takes its turn among clients."""
LOG_IN: Final = "log in with 'twodfs login' where this command runs, or set upstream.credentials"
_TO_OPERATORS: Final = ": check upstream.credentials"


class JobIdentity:
    """Who a job is to the registry."""

    def __init__(
        self,
        registry: UpstreamRegistry,
        realms: RealmPolicy,
        credentials: Credentials | None,
        *,
        is_service: bool,
        timeout: float,
    ) -> None:
        """Prepare to ask.

        Args:
            registry: the registry.
            realms: guards the credentials.
            credentials: of the user who gave the order; None for anonymous.
            is_service: whether the proxy's own go to the registry.
            timeout: seconds for a token server's answer.
        """
        self._authority: Authority | None = None
        self._guarded: set[Repository] = set()
        if not is_service:

            async def give(_fresh: bool) -> Credentials:  # noqa: FBT001 - the protocol of a source
                return credentials or Credentials()

            self._authority = Authority(registry.ask_realm, registry.origins, give, realms, timeout=timeout)

    async def do(self, repository: Repository, work: Callable[[Identity], Awaitable[T]]) -> T:
        """Return the result of ``work`` with the right to read ``repository``; once more where that was refused.

        Raises:
            UpstreamError: the registry cannot be asked, or wants credentials that there are none of.
            RefusedError: it refuses.
        """
        if self._authority is None:
            return await work(service({repository: frozenset({"pull"})}, _CLIENT))
        scopes = (Scope("repository", repository.name, ("pull",)),)
        try:
            # A registry that asks for nothing is not told who asks.
            shown = await self._authority.header(scopes) if repository in self._guarded else None
            try:
                return await work(_identity(shown))
            except RefusedError as error:
                if error.reply.status not in REFUSALS:
                    raise
                challenges = error.reply.headers.getall(hdrs.WWW_AUTHENTICATE, ())
                renewed = await self._authority.after_refusal(scopes, shown, challenges)
                if renewed is None:
                    raise
                self._guarded.add(repository)
                return await work(_identity(renewed))
        except CredentialsError as error:
            raise UpstreamError(f"{str(error).removesuffix(_TO_OPERATORS)}; {LOG_IN}") from None


def _identity(header: str | None) -> Identity:
    return Identity.of({} if header is None else {hdrs.AUTHORIZATION: header}, _CLIENT)
