"""Identities and rights of clients, and the proxy's own credentials at the registry.

Each module imports only from those above it::

    identity     a client's credentials that go upstream, a keyed hash of them, and its known rights
    tokens       the registry's bearer tokens, verified here
    passwords    the clients' own, in an htpasswd file
    realm        which token servers may see credentials, and the address that clients are told
    credentials  where the proxy's own credentials come from, if it has any
    grants       the upstream's yes to a client, remembered for a moment
    access_control admission of clients, by the registry or by the proxy's own rules
"""
