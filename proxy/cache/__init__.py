"""Commands on an edge directory, beside a running node or without one.

reference     images by the names that clients pull
source        the content of a directory as a source of images
parts         the parts that an image is made of
tags          tags that the node has an answer for
images        images and partitions, and what of each is there
inventory     all content, with the images that need it
verification  content, read and hashed
pruning       content that may go
pinning       images that stay
table         lists for people
options       options that several commands have
opened        a directory, opened for a command
commands      the commands of ``twodfs-proxy cache``
"""
