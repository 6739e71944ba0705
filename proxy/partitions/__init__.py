"""Partitions: from a tag to the documents of an ordinary image.

Each module imports only from those above it::

    records      documents, fields, sizes, partitions and their provenance, as stores keep them
    source       base tag -> digest: freshness and permission in one question
    content      the documents that partitions are cut from
    policy       which images may be cut: those with a signature by a trusted key
    answering    the questions of a cut answered from the registry
    cutting      a cut, here or in a process apart, and the faults of images that cannot be cut
    synthesis    source + selection -> partition, cut once and stored before it is answered
    lookalikes   tags that look like partitions: errors for mistyped ones, and the ones that pushes must not use
    plain        the partition that a plain tag of a 2DFS image gives
"""
