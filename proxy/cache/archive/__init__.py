"""Images carried from node to node in an OCI archive.

The archive is an OCI image layout in a tar file, which other tools read. ``2dfs-edge.json`` in it has what a node needs
beside the content: the registry's last answers, and what was left out since the other side has it.

facts    the answers and what was left out
holding  what the other side has
export   an archive planned and written
intake   an archive read, and its content put into a directory
"""
