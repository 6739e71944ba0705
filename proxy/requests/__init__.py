"""What a request asks for, and what right that takes. Pure: nothing here knows a socket.

Each module imports only from those above it::

    grammar      what a request target must look like before anything goes upstream
    route        method + target -> typed request
    scope        what right a request needs
"""
