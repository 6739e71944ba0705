"""Images and partitions of an edge directory, read from its content.

reference   images by the names that clients pull
source      the content of a directory as a source of images
parts       the parts that an image is made of
tags        tags that the node has an answer for
finding     an image by its name, cut where it is a partition
"""
