"""The 2DFS partition proxy: a reverse proxy that cuts partitions in front of any stock registry.

A request travels down this list; a module imports only from those above it::

    config       what can be set, and where a bad value came from
    process      limits of the machine and the interpreter
    logs         structured lines with a request id
    connections  the open client connections; the idle ones give way
    metrics      what is counted, and how it is told
    tracing      what a request waited for, told to a collector
    grammar      what a request target must look like before anything goes upstream
    splice       bytes from socket to socket past this process
    server       aiohttp taught to be a proxy: error replies, responses, connections, patience
    decrypt      bytes out of TLS connections into sockets, past asyncio's own way
    takeover     aiohttp's sockets, borrowed for a splice and given back
    bodies       bodies in transit, spliced or buffered
    route        method + target -> typed request
    identity     who asks: the credentials that go upstream, a keyed hash of them, and rights that are known
    clients      which client asks, and how it sees us: whose word on that is believed
    limits       how much clients may use, one by one and together
    scope        what right a request needs
    watched      files that are read again when they change
    tokens       the registry's bearer tokens, verified here
    flight       identical concurrent work is done once
    passwords    the clients' own, in an htpasswd file
    records      what is remembered, and how it is sealed against rot
    access       what is counted, logged and traced of a request when it is over
    store        memory in front of Redis
    tls          certificates: ours, exchanged while we run, and the registry's
    redirects    where the registry may send us, and what we take along
    realm        which token servers may see credentials, and whose address clients are told
    credentials  where the proxy's own credentials come from, if it has any
    origins      several doors to one registry: which is asked, and which are left alone for a while
    authority    the registry's challenges, answered with those
    replies      answers that are read as a whole, and why there was none, in sentences
    own_access   the proxy's own credentials on a request, renewed where they are refused
    upstream     the one door to the registry: streamed answers and bounded ones
    grants       the upstream's yes to a client, remembered for a moment
    source       base tag -> digest: freshness and permission in one question
    field_worker the process that parses a large field
    field_body  a field on its way in: parsed in steps here, or by the worker
    content     the documents that partitions are cut from
    policy      which images may be cut: those with a signature by a trusted key
    synthesis   source + selection -> partition, made once and stored before it is answered
    signer      who signs: a key in a file, or whatever has the same two members
    signatures  what the proxy vouches for: signatures of its documents, by tag, as referrers and by digest
    headers     what ends at a hop, and addresses that must come back to us
    relay        everything else, byte for byte
    deposits     what we made, given to the registry when somebody pushes what names it
    exchange     the token endpoint: on to the registry's realm
    door         who may enter: whom the registry lets in, or, where the proxy is the door, whom the rules do
    documents    what we made, as answers
    failures     what went wrong, as answers
    handlers     typed request -> answer
    admin        health and metrics on a listener of its own
    app          wiring and lifetimes
    workers      several processes on one port, and who watches over them
    doctor       what would go wrong here, and what to change
    __main__     the command

The rules that hold everywhere are in ``docs/design.md``.
"""
