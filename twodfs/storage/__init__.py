"""Images on this machine: a content store that is an OCI layout directory.

writing      files replaced, and what is wrong where they cannot be
store        blobs and names, safe against a kill at any instruction
inventory    what an image of the store consists of
"""
