"""Ways to build: each takes a model from its files to images that can be pulled.

Modules, from below: ``builder`` (what all of them do), ``field`` (twodfs), ``docker``, ``packers`` (ORAS, crane, umoci,
Buildah) and ``costs`` (what they take).
"""
