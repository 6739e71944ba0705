"""The papers' evaluations, redone on this machine and extended: `make evaluate` writes ``docs/evaluation.md``.

Modules and packages, from below: ``results`` (samples, summary, tables), ``measuring`` (meters, the bench), ``part``
(a part of the evaluation), ``contenders`` (builders and engines), ``paper`` (what the papers report), ``parts`` (one
module for each part), ``document`` (the page, with its plots), ``run`` (measures parts) and ``__main__``.
"""
