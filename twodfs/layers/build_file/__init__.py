"""The build file: which files make up which allotment, and how the image is run.

keys       the keys that it has (pure)
schema     these as a JSON Schema (pure)
values     texts, numbers and modes (pure)
variables  ``${NAME}`` (pure)
yaml_text  YAML -> the values that JSON has (pure)
origin     the names of a build file and its lines in errors
cells      an allotment's files
each       one cell for each match of a pattern
settings   how the image is run (pure)
checks     cells and selections held against each other
file       all of it
"""
