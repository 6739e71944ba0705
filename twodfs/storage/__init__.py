"""Images on this machine: a content store that is an OCI layout directory.

writing      files replaced, and the errors where they cannot be
blobs        contents by their digests
index        images by their names
pushes       the images that were pushed
uploads      uploads that were begun and not ended
store        blobs, names and pushes together, safe against a kill at any instruction
inventory    the blobs that an image of the store consists of
"""
