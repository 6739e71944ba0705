"""How long it takes from files to an image that can be pulled: twodfs, and Docker's own builder.

inputs      real models' layer sizes, filled with noise, in splits
contenders  what is measured: twodfs, Docker with one image, Docker with an image for each split
plot        an SVG of the outcome
__main__    runs it all
"""
