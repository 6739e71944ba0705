"""Blobs on their way from the registry to the disk, read while they grow.

partial   a file that grows, locked by the one process that fills it
growth    how far it has come, for those who wait for more
written   what was written and hashed, and what came again
source    a blob of the registry from any offset on, checked, with credentials that are fresh
flight    a blob that readers wait for, whoever fetches it
fill      one blob fetched to its end, resumed, verified and put among the content
follow    a blob that another process of the node fetches
passage   the rest of a blob, passed on to one reader where the disk takes no more
body      a file's bytes, whole or growing, as the body of an answer
fills     all that are under way on this node
"""
