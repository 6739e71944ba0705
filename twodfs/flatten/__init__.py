"""An image composed with a field, and cut into partitions. Pure.

budget       bounds on the documents of one image together
rewrite      an image's documents with allotments in place of the field
needs        questions of a cut, and their answers
selecting    the allotments of a selection in each image of a source
cut          source image + selection -> ordinary image
compose      base + field -> image
validate     re-hash an image and hold its documents against each other
"""
