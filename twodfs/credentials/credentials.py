"""Passwords and tokens of a user for a registry."""

from __future__ import annotations

import base64
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Credentials:
    """A user's password or token for a registry. Secrets stay out of the ``repr``.

    Attributes:
        username: of a login; may be empty beside a token.
        password: of a login, or a personal access token.
        identity_token: an OAuth2 refresh token that the token server gave at login.
        registry_token: a bearer token to be sent as it is.
    """

    username: str = ""
    password: str = field(default="", repr=False)
    identity_token: str = field(default="", repr=False)
    registry_token: str = field(default="", repr=False)

    @property
    def is_login(self) -> bool:
        """Whether it holds a username and a password."""
        return bool(self.username and self.password)

    @property
    def pair(self) -> str:
        """The base64 of username and password, as RFC 7617 and Docker's configuration write them, in UTF-8."""
        return base64.b64encode(f"{self.username}:{self.password}".encode()).decode("ascii")

    def basic(self) -> str:
        """Return the ``Authorization`` of RFC 7617, in UTF-8."""
        return f"Basic {self.pair}"
