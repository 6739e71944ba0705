"""``twodfs-proxy doctor``: checks whether this proxy will work here, and names the changes needed.

Nothing is changed by it, but for one record in Redis that is gone after seconds and one file in an edge directory
that is gone at once. Every wait is bounded::

    finding     the result of one check
    settings    the configuration, looked at as a whole
    host        file descriptors, memory and disk of this machine
    edge        the directory of an edge node: its disk, its file system, its clock
    network     names, connections and TLS to the registry
    client      one bounded question to the registry, and credentials for it
    registry    the API, its clock, its connections, its authentication
    image       manifests and blobs of one image: HEAD, digests, redirects, ranges
    redis       the shared cache
    examination all of them, in the order in which they depend on each other
    command     arguments and output
"""
