"""Images looked at without being fetched: files of cells, costs of partitions, and what an update moves.

parts        parts of a blob, as a file that is read here and there
files        the files in a layer: the headers of its tar
inspection   platforms and fields of an image
content      the base and the cells of each image
difference   two images, compared
"""
