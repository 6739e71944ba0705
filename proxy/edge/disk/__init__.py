"""Content and small facts in one directory.

directory   the paths, and the secret that keys hashes of credentials
state       small facts in one SQLite file, asked in a thread of its own
blobs       content by digest: verified, opened for reading, put as a whole
pins        images that stay
space       how much there may be, and which content makes room for other
records     documents of partitions and their provenances, as a store of records
listing     the directory as an OCI image layout
keeper      the one process of a node that scans, makes room and cleans up
store       all of it, opened together
"""
