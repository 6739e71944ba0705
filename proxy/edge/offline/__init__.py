"""The registry, or else its last known answers.

questions  what of a question is remembered, and under which name
outage     answers that are none: the registry fails, or something else speaks in its place
answers    what tags, lists of referrers and ``/v2/`` were last
breaker    whether asking hangs, and the probe that finds out
line       one question to the registry: how long it is waited for, and whether it is asked at all
documents  manifests, configs and fields by digest, on disk
rights     who may read what, with and without the registry
named      tags, lists of referrers and ``/v2/``: asked for, or else as they were last
content    documents by digest: from disk, or else asked for
registry   the registry with the disk behind it
token_server   tokens of the node's own, while no token server can be asked
"""
