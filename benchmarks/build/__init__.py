"""How long the builder takes from files to an image that can be pulled, beside the least that this can take.

Modules, from below: ``outcome`` (medians, ratios, tables), ``floor`` (hashing, and uploads by curl), ``growth`` (with
the size of the model), ``model_split`` (a model by layers) and ``__main__``.
"""
