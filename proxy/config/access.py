"""The sections on authentication and rights of clients."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, model_validator

from proxy.config.section import Section
from proxy.config.values import Listed, RealmHost, SecondsOrZero, TokenService


class TokenConfig(Section):
    """The registry's bearer tokens, verified here without asking it."""

    keys: Path | None = Field(
        None, description="Keys that tokens are signed with: JWKS, or PEM certificates and public keys."
    )
    issuer: str = Field("", description="Who must have issued a token.")
    audience: str = Field("", description="Whom a token must be for: the registry's service name.")
    leeway: float = Field(30, ge=0, le=300, description="Seconds that clocks may differ.")
    realm: TokenService | None = Field(
        None, description="Where our own challenge sends clients for a token, with upstream.credentials."
    )

    @model_validator(mode="after")
    def _is_whole(self) -> TokenConfig:
        if self.keys is not None and not (self.issuer and self.audience):
            raise ValueError("keys need issuer and audience beside them, or any token they signed would do")
        return self


class RuleConfig(Section):
    """The actions that some users may take in some repositories."""

    users: tuple[str, ...] = Field(min_length=1, description="Names; * is everyone who logged in.")
    repositories: tuple[str, ...] = Field(min_length=1, description="Patterns; * within a part, ** across.")
    actions: tuple[Literal["pull", "push", "delete"], ...] = Field(("pull",), min_length=1)
    registries: tuple[str, ...] = Field((), description="Names of [[upstream]] that it is for; none: every one.")

    def is_for(self, registry: str) -> bool:
        """Say whether it is for the registry that is called ``registry``."""
        return not self.registries or registry in self.registries


class ClientsConfig(Section):
    """Admission of clients, where the proxy decides it."""

    htpasswd: Path | None = Field(None, description="Users and bcrypt hashes; read again on change.")
    allow_anonymous: bool = Field(default=False, description="Let in whoever can connect.")
    rules: Annotated[tuple[RuleConfig, ...], Listed] = Field(
        (), description="Who may do what; without any, whoever is let in may pull everything."
    )


class AuthConfig(Section):
    """Authentication of clients, and the lifetime of a positive answer."""

    realm: Literal["upstream", "proxy"] = Field(
        "upstream", description="Where clients get tokens: at the registry's realm, or through the proxy."
    )
    realm_hosts: Annotated[tuple[RealmHost, ...], Listed] = Field(
        (), description="Token servers that may see credentials, beside the registry's own host and port."
    )
    ttl: SecondsOrZero = Field(
        10, description="Seconds the registry's yes to a client is remembered; 0 asks every time."
    )
    token: TokenConfig = TokenConfig()
    clients: ClientsConfig = ClientsConfig()
