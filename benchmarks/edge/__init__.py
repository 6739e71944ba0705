"""An edge node beside nginx, at the end of a thin line, and on a site of devices.

measured   one server in one round
tables     results as tables
nginx      nginx as a registry of blobs, as a server of the same files, and as a cache that fills
hits       blobs that are on the disk already
fills      blobs that are not
site       what is at both ends of a line
fifty      devices at the end of a thin line that pull at the same time
scenario   what a site's devices make cross the line, beside other ways to supply them
"""
