"""Typed request -> answer.

Each module imports only from those above it::

    exchange     a request and its client, an answer and its source of bytes, and the function that sends every answer
    headers      hop-by-hop headers, and addresses that must lead back to the proxy
    relay        every other request, passed on byte for byte
    errors       errors as answers
    documents    manifests and blobs made by the proxy, as answers
    remembered   tags, lists of referrers and /v2/, with the last answers of an edge node behind them
    edge         manifests and blobs by digest, with the disk of an edge node in between
    access_log   metrics, log line and trace of a finished request
    partition    tags of partitions, and plain tags that give one
    content      manifests and blobs by digest
    attached     signatures and lists of referrers
    tags         lists of tags, with the named partitions of their images
    push         writes of manifests, and the blobs that the registry must have to accept them
    token        the token endpoint: on to the registry's realm
    dispatcher   the handler of each kind of request, and the steps that every request takes
"""
