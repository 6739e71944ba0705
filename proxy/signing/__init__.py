"""Signatures of partitions, and artifacts that others attach.

Each module imports only from those above it::

    signer       the signing key: in a file, or any object with the same two members
    records      signatures and their subjects, as stores keep them
    signatures   signatures of partitions, computed on request
    attached     the proxy's signatures beside artifacts of others: by tag, as referrers and by digest
"""
