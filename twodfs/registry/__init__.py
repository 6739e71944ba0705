"""The client side of the distribution API (OCI distribution-spec v1.1). For any thread.

auth         registry challenges and credentials, without I/O
wire         HTTP/1.1 on one connection
proxies      the HTTP proxies that the environment names
pool         connections to registries, kept for the next request
message      requests and answers, failures put into words
transport    one registry: challenges, redirects, retries
repository   one repository of it: manifests and blobs, read and written
conversation what a program is told and answers, bounded in time and bytes
credentials  Docker's configuration and its credential helpers
login        credentials kept there, and forgotten
session      a registry, opened
"""
