"""A field and an image made one, and cut apart again. Pure.

budget       what the documents of one image may take together
rewrite      an image's documents with allotments in place of the field
needs        what a cut is to be told, and the answers
selecting    what a selection selects in each image of a source
cut          source image + selection -> ordinary image
compose      base + field -> image
validate     re-hash an image and hold its documents against each other
"""
