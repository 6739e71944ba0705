"""Who asks, through which proxies, and how much each may use.

hops         which proxies a request has been through, so that a circle ends
addresses    which client asks, and how it sees us: whose word on that is believed
limits       how much clients may use, one by one and together
"""
