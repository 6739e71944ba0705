"""From a build file to an image in a registry; each module imports only from those above it.

platforms     ``linux/arm64/v8``
choices       what can be chosen on the command line
coverage      which rectangles hold none of a build file's cells
inputs        files that somebody names, opened without a wait and read with a bound
recipe        the build file ``2dfs.json``
patterns      what matches ``weights/**/*.bin``
links         whether a link is kept or followed
members       what goes into a layer, looked at and not read
compression   how a layer's tar becomes its blob
layer         files -> one deterministic layer
writing       a store's files replaced, and what is wrong where they cannot be
store         a content store that is an OCI layout directory
keys          which layer was made of what, so that what has not changed is not read
directories   what no file may take the place of (pure)
allotments    recipe -> allotments in the store, in threads
documents     base + field -> manifests and index (pure)
kinds         whose media types a new image has
fields        fields as the command line reads them, in bounded memory
inventory     what an image of the store consists of
scratch       a base without files
source        where an image is read from
tarball       an image as a tar archive, planned (pure)
inflation     gzip undone, up to a limit
archive       the files of a directory or a tar archive
layout        an image in an OCI layout
saved         an image that ``docker save`` wrote
daemon        an image of the Docker Engine of this machine
transport     ``oci-archive:FILE:NAME`` and the like
pull          a base image into the store
image         recipe + base -> image in the store
push          an image of the store -> registry
cutting       a partition of an image of the store or of a registry
origin        what a partition was cut from
export        an image or a partition -> archive
health        whether the registry has the allotments and keeps them
anchoring     an index that makes it keep them
housekeeping  the images of the store, removed and pruned
inspection    what is in an image
grid          a field drawn as text (pure)
"""
