"""Blobs on their way to a repository.

content   the bytes of blobs on their way out
parts     uploads that can be gone on with
blobs     blobs given to a repository
"""
