"""Realms: the token servers that a registry's challenge names, and whether credentials may go there.

A registry that was broken into, or spoken to in plain HTTP, can name any address. So credentials that pass
through this process go to a realm only where its host and port are the registry's own or listed in
``auth.realm_hosts``, and never from TLS to clear text (distribution's CVE-2026-33540).
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterable, Sequence
from typing import Final

from yarl import URL

from proxy.logs import get_logger
from proxy.requests.choice import ChosenRegistry
from proxy.requests.kinds import TOKEN_PATH
from twodfs.registry.auth import parse_challenges

_GOOD_FOR: Final = 300.0
"""Seconds for which a realm is remembered: registries move, if seldom."""
_REALM: Final = re.compile(r'(\brealm[ \t]*=[ \t]*)"([^"\\]*)"', re.IGNORECASE)
_SCOPE: Final = re.compile(r'(\bscope[ \t]*=[ \t]*)"([^"\\]*)"', re.IGNORECASE)


class RealmError(Exception):
    """Credentials must not go to this realm; the message names the setting to change."""


class RealmPolicy:
    """Which realms may see credentials."""

    def __init__(self, upstreams: Sequence[str], hosts: Iterable[str]) -> None:
        """``upstreams`` are origins; ``hosts`` are ``host`` (on its scheme's own port) or ``host:port``."""
        urls = tuple(map(URL, upstreams))
        self._is_encrypted = any(url.scheme == "https" for url in urls)
        self._own = frozenset((url.host, url.port) for url in urls)
        self._hosts = frozenset(hosts)

    def check(self, realm: str) -> URL:
        """Return the address of ``realm``.

        Raises:
            RealmError: it may not see credentials.
        """
        try:
            url = URL(realm, encoded=True)
            host, port = url.host, url.port
        except (ValueError, IndexError):  # yarl stumbles over "//[::1]@"
            host = port = None
            url = URL()
        if host is None or port is None or url.scheme not in ("http", "https") or url.user is not None:
            raise RealmError("the registry names a token server that is no http(s) address")
        if self._is_encrypted and url.scheme != "https":
            raise RealmError(f"the registry sends us from https to a token server without TLS, {host}")
        bracketed = f"[{host}]" if ":" in host else host
        names = {f"{bracketed}:{port}".lower()} | ({host.lower()} if url.is_default_port() else set())
        is_own = (host, port) in self._own
        if not is_own and not names & self._hosts:
            raise RealmError(
                f"the registry's token server {bracketed}:{port} is not the registry's own host and port: "
                f'if it is right, list "{bracketed}:{port}" in auth.realm_hosts'
            )
        return url


class Realms:
    """The realm of the registry, as its challenges name it, and the challenge that names ours instead.

    A realm is learnt from answers of the registry alone, never from a request.
    """

    def __init__(self, policy: RealmPolicy) -> None:
        self._policy = policy
        self._realm: URL | None = None
        self._learnt_at = 0.0
        self._refused = ""

    def known(self) -> URL | None:
        """Return the realm, when it was learnt a short time ago."""
        return self._realm if time.monotonic() - self._learnt_at < _GOOD_FOR else None

    def learn(self, headers: Iterable[str]) -> URL | None:
        """Return the Bearer realm in the ``WWW-Authenticate`` of an answer of the registry, and remember it.

        Raises:
            RealmError: it may not see credentials.
        """
        for challenge in parse_challenges(headers):
            if challenge.scheme == "bearer" and "realm" in challenge.parameters:
                self._realm = self._policy.check(challenge.parameters["realm"])
                self._learnt_at = time.monotonic()
                return self._realm
        return None

    def as_ours(self, header: str, origin: str, chosen: ChosenRegistry | None = None) -> str:
        """Return a ``WWW-Authenticate`` of the registry with our address for its realm.

        A realm that we may not forward to stays as it is: the client decides whether it goes there.

        Args:
            header: one line of the registry's.
            origin: ours, as the client sees it.
            chosen: what named the registry; None: it is the only one. The realm says it again, and scopes have the
                repository as this client calls it.
        """
        try:
            realm = self.learn([header])
        except RealmError as error:
            if self._refused != str(error):
                self._refused = str(error)
                get_logger().warning("token realm not rewritten", problem=str(error))
            return header
        if realm is None:
            return header
        ours = f'"{origin}{TOKEN_PATH if chosen is None else chosen.token_path}"'
        header = _REALM.sub(lambda found: found[1] + ours if _is(found[2], realm) else found[0], header)
        if chosen is None:
            return header
        return _SCOPE.sub(lambda found: f'{found[1]}"{chosen.scope_as_ours(found[2])}"', header)


def _is(text: str, realm: URL) -> bool:
    try:
        return URL(text, encoded=True) == realm
    except (ValueError, IndexError):
        return False
