"""Bodies in transit, and bytes past this process.

idle_timeout   how long either side of a transfer may stay silent
splice         bytes from socket to socket past this process
decrypt        bytes out of TLS connections into sockets, past asyncio's own way
sendfile       bytes of a file into a socket past this process
threads        few threads for work on files
socket_handoff aiohttp's sockets, borrowed for a splice, then returned
file_handoff   a client's socket, borrowed for bytes of files
receive        a body of the registry's into a thread, without a copy for the event loop
rehearsal      whether sockets can be borrowed here, tried out
transit        bodies in transit, spliced or buffered
"""
