"""Commands on an edge directory, beside a running node or without one.

images        images and partitions, read from the content
inventory     all content, with the images that need it
verification  content, read and hashed
pruning       content that may go
pinning       images that stay
archive       images carried from node to node
table         lists for people
options       options that several commands have
opened        a directory, opened for a command
commands      the commands of ``twodfs-proxy cache``
"""
