"""The builder: a build file and a base -> an image in the store.

keys          layers by their sources' metadata, so that unchanged files are not read
fields        which allotments the image of each platform has
allotments    build file -> allotments in the store, in threads
kinds         whose media types a new image has
built         an image that was built, and its record
composing     the documents of an image
image         build file + base -> image in the store
housekeeping  the images of the store, removed and pruned
"""
