"""The papers' evaluations, redone on this machine and extended: `make evaluate` writes ``docs/evaluation.md``.

Modules, from below: ``samples`` (single measurements, CSV files), ``conditions`` (machine, programs, rounds),
``summary`` (medians and spread), ``tables`` (of a summary), ``meter`` (processor time and memory of programs and
servers), ``serving`` (what pulls cost registry and proxy), ``bench`` (peers, models, turns), ``part`` (a part of the
evaluation), ``contenders`` (ways to build), ``published`` (what a registry has of it), ``abilities`` (what can be done
with it), ``relay`` (bytes sent), ``engines`` (that pull), ``paper`` (what the papers report), ``parts`` (one module for
each part), ``document`` (the page, with its plots), ``run`` (measures parts) and ``__main__``.
"""
