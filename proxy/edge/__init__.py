"""The edge cache: content on disk, close to its readers, that is served when the registry cannot be asked.

    disk      content and small facts in one directory, shared by the workers and by the cache commands
    pace      a cap on bandwidth
    rights    the registry's yes to a client, and which content it covers
    filling   blobs on their way from the registry to the disk, read while they grow
    offline   the registry, or else its last known answers
    node      all of it, opened together

``docs/design/edge.md`` has the rules.
"""
