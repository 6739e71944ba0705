"""Bytes and connections: HTTP as a proxy needs it, and bodies that pass without being looked at.

Each module imports only from those above it::

    connections  the open client connections; the idle ones give way
    handshake    TLS of a client's connection, counted from its first moment
    tls          certificates: ours, exchanged while we run, and the registry's
    pace         how far a body is read ahead of its client
    splice       bytes from socket to socket past this process
    server       aiohttp taught to be a proxy: error replies, responses, connections, patience
    decrypt      bytes out of TLS connections into sockets, past asyncio's own way
    takeover     aiohttp's sockets, borrowed for a splice and given back
    bodies       bodies in transit, spliced or buffered
"""
