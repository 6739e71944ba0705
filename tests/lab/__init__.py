"""Real peers for tests and for the demo: registry, Redis, container engines, and our own proxy.

Everything here is synchronous, listens on loopback only, keeps its files below the directory it is handed,
and is a context manager that leaves no process and no mount behind. What may import what, from the bottom up:

    programs            where Debian keeps a program
    process, command    a server that runs until stopped; a command that runs to its end
    mounts              directories for daemons, free of mounts afterwards
    layers, rootfs      tar layers made, tar layers applied
    documents           manifests, configs, indexes and fields, without `twodfs`, so that they can judge it
    registry_client     pushes blobs and documents over `http.client`
    images              whole images: built, pushed, and what an engine must unpack from them
    python_base         a base image out of this machine's Python
    helm, install_helm  the chart, rendered
    registry, redis, proxy, engines     the peers
    line                a thin line to a network of its own
    device              a client that pulls as an engine does
    peers, fixtures     what only pytest needs
    namespaces, roots   root file systems beside the machine's own, and where they are
    todays_root         Debian's newest engines and tools
    tours               the commands of a page, run, and what it says that they print
    empty_debian        a machine on which nothing is installed yet

Three scripts install what is missing, and `make test` runs all: install-peers.sh this machine's own packages;
install-todays-engines.sh a root file system with those of Debian's newest release, install-empty-debian.sh
that of an empty machine, each once per machine. Who goes without a peer names it in TWODFS_TEST_WITHOUT:
`TWODFS_TEST_WITHOUT=todays-engines,empty-debian,wrk make test`.
"""
