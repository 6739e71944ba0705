"""From a build file to an image in a registry; each module imports only from those above it.

concurrency   many jobs, a bounded number at a time
platforms     ``linux/arm64/v8``
choices       what can be chosen on the command line
recipe        the build file ``2dfs.json``
members       what goes into a layer, looked at and not read
compression   how a layer's tar becomes its blob
layer         files -> one deterministic layer
store         a content store that is an OCI layout directory
keys          which layer was made of what, so that what has not changed is not read
allotments    recipe -> allotments in the store, in threads
documents     base + field -> manifests and index (pure)
pull          a base image from a registry
image         recipe + base -> image in the store
push          an image of the store -> registry
housekeeping  the images of the store, removed and pruned
inspection    what is in an image
grid          a field drawn as text (pure)
"""
