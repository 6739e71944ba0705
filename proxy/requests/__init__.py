"""Requests, parsed, and the rights that they need. Pure: nothing here knows a socket.

Each module imports only from those above it::

    authority    hosts and ports in one spelling
    grammar      the allowed form of a request target, and the repository and reference in its path
    scope        the scopes that a request needs
    kinds        the kinds of requests, each a frozen value
    choice       which of several registries a request is for
    parsing      method + target -> typed request, once for each request
"""
