"""The 2DFS image format and its client side.

Data goes one way, each module imports only from those above it:

    errors       one shallow tree; every error carries a sentence a person can act on
    printable    foreign text as it may be shown
    choices      values to choose from on the command line
    concurrency  many jobs in threads, the first failure ends all
    files        files named by users, opened without a wait and read up to a bound
    links        links in a directory: kept, or followed
    sizes        numbers of bytes as people write them (pure)
    progress     listeners to progress
    oci          documents and the names they go by (pure)
    field        the sparse matrix of allotments, and rectangles of it (pure)
    flatten      an image composed with a field, and cut into partitions (pure)
    signing      signatures in cosign's formats (pure)
    credentials  the user's credentials for registries
    wire         HTTP/1.1 as a client of registries needs it
    registry     the distribution API, its client
    models       a model's directory -> a part of a build file
    layers       a build file -> layers
    storage      images on this machine
    images       images from anywhere
    build        the builder
    publish      images pushed, exported, cut, anchored, examined
    copying      images copied from repository to repository
    viewing      images looked at: cells, files, costs, differences
    running      text for programs that run an image
    cli          the ``twodfs`` command

Pure packages know no sockets, no event loop and no clock.
"""

__version__ = "0.1.0"
