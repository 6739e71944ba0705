"""Images on this machine: a content store that is an OCI layout directory.

writing      files replaced, and what is wrong where they cannot be
blobs        contents by their digests
index        images by their names
store        both, safe against a kill at any instruction
inventory    what an image of the store consists of
"""
