"""Connections: HTTP as a proxy needs it.

connections    the open client connections; the idle ones give way
handshake      TLS of a client's connection, counted from its first moment
tls            certificates: ours, exchanged while we run, and the registry's
sizes          how much of a head is taken, and how much of a body is held
responses      answers with exactly the given headers
back_pressure  how far a body is read ahead of its client
pool           connections to the registry: bounded waits, and no unsolicited answers
names          addresses of hosts, looked up in threads of each registry's own
listener       clients' connections: errors in the registry's words, and a bound on everything
stage          connections to try things out on
rehearsal      the protections, tried out at a start
"""
