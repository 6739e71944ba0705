"""What is remembered, and where: memory in front of Redis, each behind the same two calls.

Each module imports only from those above it::

    records      what a record is, how long it lives, and how it is sealed against rot
    protocol     what a store promises: get and put
    memory       least recently used out first, bounded in bytes
    recent       what was put lately, to be put again after a failure
    replies      what Redis answers, read up to a bound
    clients      a Redis, whether one server, Sentinels or a cluster
    redis        shared by the replicas, behind a breaker: slow or dead, it costs one short time-out
    tiered       memory and Redis together
"""
