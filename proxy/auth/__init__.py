"""Who a client is and what it may, and who the proxy is to the registry.

Each module imports only from those above it::

    identity     who asks: the credentials that go upstream, a keyed hash of them, and rights that are known
    tokens       the registry's bearer tokens, verified here
    passwords    the clients' own, in an htpasswd file
    realm        which token servers may see credentials, and whose address clients are told
    credentials  where the proxy's own credentials come from, if it has any
    grants       the upstream's yes to a client, remembered for a moment
    access_control who may enter: whom the registry lets in, or whom the proxy's own rules do
"""
