"""The builder: a build file and a base -> an image in the store.

keys          which layer was made of what, so that what has not changed is not read
allotments    build file -> allotments in the store, in threads
kinds         whose media types a new image has
image         build file + base -> image in the store
housekeeping  the images of the store, removed and pruned
"""
