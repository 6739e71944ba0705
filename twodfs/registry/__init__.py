"""The client side of the distribution API (OCI distribution-spec v1.1). For any thread.

auth         registry challenges, answered without I/O
message      requests and answers, failures put into words
transport    one registry: challenges, redirects, retries
repository   one repository of it: manifests and blobs, read and written
session      a registry, opened
"""
