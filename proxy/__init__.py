"""The 2DFS partition proxy: a reverse proxy that cuts partitions in front of any stock registry.

A request travels down this list; a part imports only from those above it, and so do the modules of each::

    config       the settings, and the source of a bad value
    insides      private parts of aiohttp and asyncio, in one place
    process      limits of the machine and the interpreter
    repository   a repository of an upstream
    globs        patterns of repository names
    stderr       log lines written without waiting for their reader
    logs         structured lines with a request id
    metrics      counters, gauges and histograms, and their exposition to Prometheus
    tracing      the waits of a request as spans, sent to a collector
    watched      files that are read again when they change
    single_flight  identical concurrent work is done once
    clients      addresses of clients, the proxies in between, and limits for each client
    wire         connections: HTTP as a proxy needs it
    bodies       bodies in transit, and bytes past this process
    requests     method + target -> typed request, and the right that it needs
    auth         clients' identities and rights, and the proxy's own credentials at the registry
    store        cached records: memory in front of Redis
    upstream     the registry
    confinement  foreign documents read in processes of their own
    edge         the edge cache: content on disk, served when the registry cannot be asked
    partitions   source + selection -> partition
    tags         lists of tags, with the named partitions beside the tags that they are of
    signing      signatures of partitions
    handlers     typed request -> answer
    preflight    objects that a start needs, made from files and settings
    cache        commands on an edge directory, beside a running node
    prefetch     images brought to an edge node before anyone asks for them
    readiness    whether enough of the registries answer
    admin        health and metrics on a listener of its own
    composition  the parts, put together for one configuration
    app          wiring and lifetimes
    workers      several processes on one port, and their supervisor
    doctor       checks of the environment, each with a remedy
    serve        the proxy run, or its configuration checked
    __main__     the command

The rules that hold everywhere are in ``docs/design.md``.
"""
