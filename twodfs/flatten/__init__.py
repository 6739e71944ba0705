"""A field and an image made one, and cut apart again. Pure.

budget       what the documents of one image may take together
rewrite      an image's documents with allotments in place of the field
cut          source image + selection -> ordinary image
compose      base + field -> image
validate     re-hash an image and hold its documents against each other
"""
