"""What the proxy vouches for.

Each module imports only from those above it::

    signer       who signs: a key in a file, or whatever has the same two members
    records      signatures and their subjects, as stores keep them
    signatures   signatures of its documents, made when they are asked for
    attached     ours beside what others attached: by tag, as referrers and by digest
"""
