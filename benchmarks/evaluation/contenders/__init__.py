"""Ways to build, each of which takes a model from its files to images that can be pulled; and engines that pull.

Modules, from below: ``builder`` (what all builders do), ``field`` (twodfs), ``docker``, ``packers`` (ORAS, crane,
umoci, Buildah), ``costs`` (what they take), ``published`` (what a registry has of it), ``abilities`` (what can be done
with it) and ``engines`` (that pull).
"""
