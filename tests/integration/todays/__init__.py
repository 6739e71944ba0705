"""What today's engines and tools do with partitions, check by check; from the bottom up:

engines         the daemons, and how each engine is asked
laboratory      the root of today's programs, a proxy that signs, an image that `twodfs` built
check           one thing that one program does
pullers         how each program pulls an image, and where its files are then
pulls, pushes, tools, signatures    the checks
known           what is known to fail, with the reason
page            `docs/compatibility.md`, written from a run and held against the next
"""
