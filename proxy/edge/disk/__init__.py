"""Content and small facts in one directory.

files       files that are there as a whole or not at all, and that go only while nobody uses them
directory   the paths, and the secret that keys hashes of credentials
state       small facts in one SQLite file, asked in threads of its own
blobs       content by digest: verified, opened for reading, put as a whole
pins        images that stay
unfinished  content on its way, as seen by others than the process that fetches it
space       how much there may be, and which content makes room for other
records     documents of partitions and their provenances, as a store of records
listing     the directory as an OCI image layout
keeper      the one process of a node that scans, makes room and cleans up
store       all of it, opened together
"""
