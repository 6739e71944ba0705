"""Images copied from repository to repository: what a registry lacks passes through memory, and nothing is stored.

content      the documents and blobs of an image, each once
blobs        blobs carried to a repository
referrers    signatures and other artifacts that refer to an image
image        an image or a partition, with all of it
"""
