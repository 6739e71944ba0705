"""Images that are built: pushed, exported, cut, anchored, examined.

cutting      a partition of an image of the store or of a registry
earlier         the content that a repository is known to have
mount_sources where a blob may lie already
push         an image of the store -> registry
archive_output an archive that was planned, written
export       an image or a partition -> archive
health       a field's allotments, looked for in a registry
anchoring    a registry's image, safe from its garbage collection
origin       which image a partition was cut from
verification an image in a registry, held against its signatures
"""
