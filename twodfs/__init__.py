"""The 2DFS image format and its client side.

Data goes one way, each module imports only from those above it:

    errors      one shallow tree; every error carries a sentence a person can act on
    printable   foreign text as it may be shown
    digest      content addresses
    reference   ``registry/repository:tag@digest``
    rectangle   rectangles, and unions of them
    partition   the grammar of ``TAG--x1.y1.x2.y2``
    spelling    keys that Go takes for others
    oci         descriptors, manifests, indexes and configs, OCI and Docker
    translation Docker's media types in OCI's terms, and the other way round
    allotment   one cell of a field
    cells       the cells of a field, packed and searched
    slices      a field's JSON, read some cells at a time
    chosen      the cells that a selection has found, equal ones merged
    field       the sparse matrix of allotments
    budget      what the documents of one image may take together
    rewrite     an image's documents with allotments in place of the field
    flatten     source image + selection -> ordinary image (pure)
    validate    re-hash an image and hold its documents against each other
    signature   cosign's signature format: payloads, the manifests that carry them, their tags
    referrers   lists of what refers to a manifest, and the tag that keeps one
    bundle      sigstore bundles, as cosign writes them today
    attachment  signatures of ours as a registry keeps them
    evidence    whether an image is signed: where to look, and what counts
    ecdsa       the keys that make and check signatures
    auth        registry challenges and credentials, without I/O

Everything above is pure: no sockets, no event loop, no clock. Below it live the client side:

    concurrency many jobs in threads, the first failure ends all
    files       files of a configuration, read up to a bound
    conversation  what a program is told and answers, bounded in time and bytes
    credentials Docker's configuration and its credential helpers
    login       credentials kept there, and forgotten
    progress    who hears how far things are
    registry    the distribution API, its client
    verification  an image in a registry, held against its signatures
    build       build files, layers, the content store, images
    cli         the ``twodfs`` command
"""

__version__ = "0.1.0"
