"""Partitions: from a tag to the documents of an ordinary image.

Each module imports only from those above it::

    source       base tag -> digest: freshness and permission in one question
    field_worker the process that parses a large field
    field_body   a field on its way in: parsed in steps here, or by the worker
    content      the documents that partitions are cut from
    policy       which images may be cut: those with a signature by a trusted key
    synthesis    source + selection -> partition, made once and stored before it is answered
"""
