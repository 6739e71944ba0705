"""Blobs on their way from the registry to the disk, read while they grow.

partial   a file that grows, locked by the one process that fills it
source    a blob of the registry from any offset on: resumed, checked, with credentials that are fresh
fill      one blob fetched to its end, verified and put among the content
fills     all that are under way on this node
body      a file's bytes, whole or growing, as the body of an answer
"""
