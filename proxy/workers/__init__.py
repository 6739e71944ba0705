"""Several processes on one port.

One parent binds the port, starts the workers and watches over them; it takes no request itself. Every worker
accepts from the same socket, so none is lost that waits to be accepted when a worker dies or is replaced.

control     questions and answers between parent and worker, as lines of JSON
worker      the command of one worker
generation  the workers of one configuration
supervisor  the parent: signals, reload, health and metrics of all
"""
