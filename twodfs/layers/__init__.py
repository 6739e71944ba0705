"""From a build file to layers.

coverage     which rectangles hold none of a build file's cells (pure)
destinations paths in the image (pure)
content      content that is made of pieces of files
made         files and links that are described in place of a path
expansion    models, as the allotments that they amount to
patterns     paths that match ``weights/**/*.bin``
ignoring     patterns of files that are left out
build_file   ``2dfs.json``
directories  directories of the base, which no file may replace (pure)
members      files, directories and links of a layer, looked at and not read
compression  how a layer's tar becomes its blob
layer        files -> one deterministic layer
"""
