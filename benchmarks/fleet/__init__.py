"""A fleet that pulls the same partition at once: `make bench-fleet`.

recording   what a stock registry answers, and how long it takes
stub        a cheap registry that replays both, in a process of its own
nodes       clients: each pulls a partition as an engine does
forecast    from what was measured to what a fleet needs
__main__    the run
"""
