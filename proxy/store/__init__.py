"""Where records are kept: memory in front of Redis, each behind the same two calls.

protocol    get and put
memory      least recently used out first, bounded in bytes
redis       shared by the replicas, behind a breaker: slow or dead, it costs one short time-out
tiered      the two together
"""
