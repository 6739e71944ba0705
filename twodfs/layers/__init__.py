"""From a build file to layers.

coverage     which rectangles hold none of a build file's cells (pure)
destinations paths in the image (pure)
build_file   ``2dfs.json``
patterns     what matches ``weights/**/*.bin``
directories  what no file may take the place of (pure)
links        whether a link is kept or followed
members      what goes into a layer, looked at and not read
compression  how a layer's tar becomes its blob
layer        files -> one deterministic layer
"""
