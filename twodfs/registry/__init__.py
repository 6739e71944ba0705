"""The client side of the distribution API (OCI distribution-spec v1.1). For any thread.

auth           registry challenges, answered without I/O
message        requests and answers, failures put into words
retries        how often a request is made again, and after how long
exchange       one attempt at a request, redirects followed
authorization  scopes that a registry has authorised, and their tokens
transport      one registry: challenges met, failures retried
requests       requests of one repository
upload         blobs given to a repository
repository     one repository: manifests and blobs, read and written
relayed        a blob of one repository as content for another
session        a registry, opened
"""
