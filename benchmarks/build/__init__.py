"""How long it takes from files to an image that can be pulled: twodfs, and Docker's own builder.

contenders  what is measured: twodfs, Docker with one image, Docker with an image for each split
__main__    runs it all
"""
