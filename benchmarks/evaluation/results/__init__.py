"""From single measurements to tables.

Modules, from below: ``samples`` (single measurements, CSV files), ``conditions`` (machine, programs, rounds),
``summary`` (medians and spread) and ``tables`` (of a summary).
"""
