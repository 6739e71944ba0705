"""Private parts of aiohttp and asyncio that the proxy needs, under names of our own.

Nothing else in the proxy touches their private attributes or their undocumented modules: changes in new versions
of either are followed here. Policy is decided above: refusals, and time-outs in seconds.

versions    which aiohttp and Python are installed
transports  sockets of asyncio's plaintext connections
tls         the TLS layer between a transport and its protocol
answers     an answer on its way to the client
server      a client's connection: its requests, its parser
client      a connection to the registry, and the requests on it
inventory   a check that all of these parts exist
"""
