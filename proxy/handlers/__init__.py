"""Typed request -> answer.

Each module imports only from those above it::

    exchange     a request and who makes it, an answer and its source of bytes, and the one way out
    headers      what ends at a hop, and addresses that must come back to us
    relay        everything that is not ours, byte for byte
    errors       what went wrong, as answers
    documents    what we made, as answers
    access_log   what is counted, logged and traced of a request when it is over
    partition    tags that look like partitions
    content      manifests and blobs by digest
    attached     signatures and lists of referrers
    push         writes of manifests, and what the registry is given so that it takes them
    token        the token endpoint: on to the registry's realm
    dispatcher   the table of kinds, and the way of every request
"""
