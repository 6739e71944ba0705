"""Clients: their addresses, the proxies in between, and limits for each of them.

hops         which proxies a request has been through, so that a circle ends
addresses    the client's address and the origin that it sees; which proxies are trusted on both
limits       how much clients may use, one by one and together
"""
