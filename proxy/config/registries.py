"""Further registries behind the same proxy, and what they take over from the settings of the first."""

from __future__ import annotations

from proxy.config.access import AuthConfig, ClientsConfig, TokenConfig
from proxy.config.upstream import BlobsConfig, UpstreamConfig


class FurtherUpstreamConfig(UpstreamConfig):
    """A registry beside the default one; tables of its own take the place of the proxy's."""

    blobs: BlobsConfig | None = None
    auth: AuthConfig | None = None

    def access(self, default: AuthConfig) -> AuthConfig:
        """Return how clients of this registry are authenticated: as it says, or with the proxy's own users.

        Tokens of another registry's token server prove nothing here, so they are not taken over.
        """
        if self.auth is not None:
            return self.auth
        has_credentials = self.credentials.kind != "none"
        return AuthConfig(
            realm="upstream" if has_credentials else default.realm,
            ttl=default.ttl,
            clients=default.clients if has_credentials else ClientsConfig(),
            token=default.token if has_credentials else TokenConfig(),
        )
