"""From a build file to an image in a registry; each module imports only from those above it.

concurrency   many jobs, a bounded number at a time
platforms     ``linux/arm64/v8``
recipe        the build file ``2dfs.json``
layer         files -> one deterministic layer
store         a content store that is an OCI layout directory
documents     base + field -> manifests and index (pure)
pull          a base image from a registry
image         recipe + base -> image in the store
push          an image of the store -> registry
inspection    what is in an image
grid          a field drawn as text (pure)
"""
