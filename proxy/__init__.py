"""The 2DFS partition proxy: a reverse proxy that cuts partitions in front of any stock registry.

A request travels down this list; a part imports only from those above it, and so do the modules of each::

    config       what can be set, and where a bad value came from
    process      limits of the machine and the interpreter
    globs        patterns of repository names
    stderr       lines that nobody waits for
    logs         structured lines with a request id
    metrics      what is counted, and how it is told
    tracing      what a request waited for, told to a collector
    watched      files that are read again when they change
    hops         which proxies a request has been through, so that a circle ends
    flight       identical concurrent work is done once
    clients      which client asks, and how it sees us: whose word on that is believed
    limits       how much clients may use, one by one and together
    wire         connections and bodies: HTTP as a proxy needs it, and bytes past this process
    requests     method + target -> typed request, and the right that it needs
    auth         who a client is and what it may, and who the proxy is to the registry
    store        what is remembered: memory in front of Redis
    upstream     the one door to the registry
    partitions   source + selection -> partition
    signing      what the proxy vouches for
    answers      typed request -> answer
    preflight    what a start takes from files and settings
    admin        health and metrics on a listener of its own
    app          wiring and lifetimes
    workers      several processes on one port, and who watches over them
    doctor       what would go wrong here, and what to change
    __main__     the command

The rules that hold everywhere are in ``docs/design.md``.
"""
