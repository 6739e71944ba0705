"""What a request asks for, and what right that takes. Pure: nothing here knows a socket.

Each module imports only from those above it::

    grammar      what a request target must look like before anything goes upstream, and what its path names
    scope        what right a request needs
    kinds        the kinds of requests, each a frozen value
    parsing      method + target -> typed request, once for each request
"""
