"""Lists of tags, with the named partitions beside the tags that they are of.

Each module imports only from those above it::

    records     what an image calls its partitions, as stores keep it
    names       tag -> the names of the partitions of its image
    pages       what the registry is asked for, and the pages that it answers with
    look_ups    the names for one page: so many at a time, and so long
    tag_list    pages of tags and partitions
"""
