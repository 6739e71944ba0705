"""The 2DFS partition proxy: a reverse proxy that cuts partitions in front of any stock registry.

A request travels down this list; a part imports only from those above it, and so do the modules of each::

    config       what can be set, and where a bad value came from
    insides      what aiohttp and asyncio do not promise, in one place
    process      limits of the machine and the interpreter
    repository   a repository of an upstream
    globs        patterns of repository names
    stderr       lines that nobody waits for
    logs         structured lines with a request id
    metrics      what is counted, and how it is told
    tracing      what a request waited for, told to a collector
    watched      files that are read again when they change
    single_flight  identical concurrent work is done once
    clients      who asks, through which proxies, and how much each may use
    wire         connections: HTTP as a proxy needs it
    bodies       bodies in transit, and bytes past this process
    requests     method + target -> typed request, and the right that it needs
    auth         who a client is and what it may, and who the proxy is to the registry
    store        what is remembered: memory in front of Redis
    upstream     the registry
    confinement  foreign documents read in processes of their own
    partitions   source + selection -> partition
    signing      what the proxy vouches for
    handlers     typed request -> answer
    preflight    what a start takes from files and settings
    admin        health and metrics on a listener of its own
    app          wiring and lifetimes
    workers      several processes on one port, and who watches over them
    doctor       what would go wrong here, and what to change
    serve        the proxy run, or its configuration checked
    __main__     the command

The rules that hold everywhere are in ``docs/design.md``.
"""
