"""Foreign documents read in processes of their own.

confined     the first steps of such a process
apart        such processes: started, waited for, and explained when they end
field_worker the process that parses a large field
field_body   a field on its way in: parsed in steps here, or by the worker
frames       the messages between the proxy and a process that cuts
cut_worker   the process that cuts an image with large documents
cut_apart    a partition cut by the worker: its questions and their answers
"""
