"""What the proxy vouches for.

Each module imports only from those above it::

    signer       who signs: a key in a file, or whatever has the same two members
    signatures   signatures of its documents, by tag, as referrers and by digest
"""
