"""What the proxy needs of aiohttp and asyncio that they do not promise, under names of our own.

Nothing else in the proxy touches their private attributes or their undocumented modules: what a new version of either
changes is changed here. Policy is decided above: what is refused, and after how many seconds.

versions    which aiohttp and Python are installed
transports  sockets of asyncio's plaintext connections
tls         the TLS layer between a transport and its protocol
answers     an answer on its way to the client
server      a client's connection: its requests, its parser
client      a connection to the registry, and what is asked over it
inventory   whether all of it is there
"""
