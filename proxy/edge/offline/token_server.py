"""What stands in for the registry's token server while neither it nor the registry answers."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final
from urllib.parse import parse_qs

import orjson
from aiohttp import hdrs

from proxy.auth.identity import Identity
from proxy.edge.offline.registry import EdgeRegistry
from proxy.edge.rights.tokens import OWN_SECONDS, EdgeTokens, form_identity
from proxy.repository import Repository
from twodfs.oci.reference import REPOSITORY

_SHORTEST: Final = 60.0
"""Seconds for which a token is good that says nothing of it ("Token Authentication Specification")."""
_LONGEST: Final = 86_400.0


@dataclass(frozen=True, slots=True)
class TokenQuestion:
    """A request for a token.

    Attributes:
        who: the credentials that it came with.
        repositories: those that the token is to let read.
    """

    who: Identity
    repositories: tuple[Repository, ...]

    @classmethod
    def of(cls, upstream: str, query: str, authorization: str | None, form: bytes) -> TokenQuestion:
        """Return the question to a registry, in a request's query, its header, and the form in its body."""
        given = parse_qs(f"{query}&{form.decode('utf-8', 'replace')}")

        def first(name: str) -> str:
            return given.get(name, [""])[0]

        if authorization is not None:
            who = Identity.of({hdrs.AUTHORIZATION: authorization})
        elif first("grant_type") == "refresh_token":
            who = Identity.of({hdrs.AUTHORIZATION: f"Refresh {first('refresh_token')}"})
        elif first("grant_type") == "password":
            who = form_identity(first("username"), first("password"))
        else:
            who = Identity.of({})
        return cls(who, tuple(_readable(upstream, " ".join(given.get("scope", ())))))


class OfflineTokenServer:
    """Knows whose tokens are passed on, and gives its own to the same when nobody else can."""

    def __init__(self, registry: EdgeRegistry, *, patience: float) -> None:
        """``patience``: seconds that a token server has where the node could give a token of its own."""
        self.patience = patience
        self._registry = registry
        self._tokens: EdgeTokens = registry.tokens

    def question(self, query: str, authorization: str | None, form: bytes) -> TokenQuestion:
        """Return what is asked for, and by whom: in a query, a header, and the form in a body."""
        return TokenQuestion.of(self._registry.name, query, authorization, form)

    async def relayed(self, question: TokenQuestion, answer: bytes) -> None:
        """Take down the token in a token server's answer."""
        try:
            document = orjson.loads(answer)
        except orjson.JSONDecodeError:
            return
        if not isinstance(document, dict):
            return
        seconds = document.get("expires_in")
        good_for = min(max(float(seconds), _SHORTEST), _LONGEST) if isinstance(seconds, int | float) else _SHORTEST
        for name in ("token", "access_token"):
            if isinstance(token := document.get(name), str):
                await self._tokens.relayed(token, question.who, good_for=good_for)

    async def own(self, question: TokenQuestion) -> bytes | None:
        """Return an answer with a token of the node's own; None where these credentials were accepted for nothing."""
        try:
            token = await self._tokens.issue(question.who, question.repositories)
        except sqlite3.Error:
            return None
        if token is None:
            return None
        issued = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        return orjson.dumps({"token": token, "access_token": token, "expires_in": OWN_SECONDS, "issued_at": issued})

    async def is_answering(self) -> bool:
        """Say whether the registry answers, which does not take tokens of ours."""
        return await self._registry.is_answering()


def _readable(upstream: str, scopes: str) -> Iterator[Repository]:
    for scope in scopes.split():
        kind, _, rest = scope.partition(":")
        name, _, actions = rest.rpartition(":")
        if kind == "repository" and "pull" in actions.split(",") and REPOSITORY.fullmatch(name):
            yield Repository(upstream, name)
