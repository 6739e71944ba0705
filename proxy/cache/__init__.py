"""Commands on an edge directory, beside a running node or without one.

reference   images by the names that clients pull
"""
