"""Stores of records: memory in front of Redis, each behind the same two calls.

Each module imports only from those above it::

    records      records, their lifetimes, and their seals against corruption
    protocol     the interface of a store: get and put
    memory       least recently used out first, bounded in bytes
    recent       records put lately, to be put again after a failure
    replies      replies of Redis, read up to a bound
    clients      a Redis, whether one server, Sentinels or a cluster
    redis        shared by the replicas, behind a breaker: slow or dead, it costs one short time-out
    tiered       memory, the disk of an edge node, and Redis together
"""
