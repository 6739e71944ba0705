"""Commands on an edge directory, beside a running node or without one.

reference   images by the names that clients pull
source      the content of a directory as a source of images
parts       the parts that an image is made of
tags        tags that the node has an answer for
images      images and partitions, and what of each is there
inventory   all content, with the images that need it
"""
