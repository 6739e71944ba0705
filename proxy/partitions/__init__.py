"""Partitions: from a tag to the documents of an ordinary image.

Each module imports only from those above it::

    source       base tag -> digest: freshness and permission in one question
    confined     what a process that reads foreign documents does first
    apart        such processes: started, waited for, and explained when they end
    field_worker the process that parses a large field
    field_body   a field on its way in: parsed in steps here, or by the worker
    content      the documents that partitions are cut from
    frames       how the proxy and a process that cuts talk
    cut_worker   the process that cuts an image with large documents
    policy       which images may be cut: those with a signature by a trusted key
    cutting      the questions of a cut answered, here or by the worker
    synthesis    source + selection -> partition, made once and stored before it is answered
    lookalikes   tags that look like partitions: what to say of one that is none, and which nobody may write
"""
