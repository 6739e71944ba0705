"""Programs and servers, measured.

Modules, from below: ``meter`` (processor time and memory), ``serving`` (what pulls cost registry and proxy), ``relay``
(bytes sent) and ``bench`` (peers, models, turns).
"""
