"""From a build file to layers.

build_file   ``2dfs.json``
patterns     what matches ``weights/**/*.bin``
coverage     which rectangles hold none of a build file's cells (pure)
directories  what no file may take the place of (pure)
links        whether a link is kept or followed
members      what goes into a layer, looked at and not read
compression  how a layer's tar becomes its blob
layer        files -> one deterministic layer
"""
