"""Typed request -> answer.

Each module imports only from those above it::

    headers      what ends at a hop, and addresses that must come back to us
    relay        everything that is not ours, byte for byte
    push_completion what we made, given to the registry when somebody pushes what names it
    exchange     the token endpoint: on to the registry's realm
    documents    what we made, as answers
    failures     what went wrong, as answers
    access       what is counted, logged and traced of a request when it is over
    handlers     one for each kind of request
"""
