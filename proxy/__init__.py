"""The 2DFS partition proxy: a reverse proxy that cuts partitions in front of any stock registry.

A request travels down this list; a module imports only from those above it::

    config       what can be set, and where a bad value came from
    logs         structured lines with a request id
    server       everything that touches aiohttp's insides: error replies, responses, request bodies
    route        method + target -> typed request
    identity     who asks: the credentials that go upstream, and a keyed hash of them
    flight       identical concurrent work is done once
    records      what is remembered, and how it is sealed against rot
    store        memory in front of Redis
    upstream     the one door to the registry: streamed answers and bounded ones
    source       base tag -> digest: freshness and permission in one question
    content     the documents that partitions are cut from
    policy      which images may be cut: those with a signature by a trusted key
    synthesis   source + selection -> partition, made once and stored before it is answered
    signer      who signs: a key in a file, or whatever has the same two members
    signatures  what the proxy vouches for: signatures of its documents, by tag, as referrers and by digest
    headers     what ends at a hop, and addresses that must come back to us
    relay        everything else, byte for byte
    handlers     typed request -> answer
    admin        health on a listener of its own
    app          wiring and lifetimes
    doctor       what would go wrong here, and what to change
    __main__     the command

The rules that hold everywhere are in ``docs/design.md``.
"""
