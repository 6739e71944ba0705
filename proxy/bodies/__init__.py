"""Bodies in transit, and bytes past this process.

idle_timeout   how long either side of a transfer may stay silent
splice         bytes from socket to socket past this process
decrypt        bytes out of TLS connections into sockets, past asyncio's own way
socket_handoff aiohttp's sockets, borrowed for a splice, then returned
rehearsal      whether sockets can be borrowed here, tried out
transit        bodies in transit, spliced or buffered
"""
