"""Images that are built: pushed, exported, cut, anchored, examined.

cutting      a partition of an image of the store or of a registry
push         an image of the store -> registry
export       a partition -> archive
health       a field's allotments, looked for in a registry
anchoring    a registry's image, safe from its garbage collection
inspection   what an image consists of
origin       which image a partition was cut from
verification an image in a registry, held against its signatures
"""
