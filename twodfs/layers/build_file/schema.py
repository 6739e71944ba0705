"""The JSON Schema of a build file, for editors; made of ``keys``, as the parser is. Pure.

It takes all that the parser takes. The parser also looks at what no schema tells: places that are given twice,
partitions that select nothing, sources that are not there.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import orjson

from twodfs.layers.build_file.keys import ALLOTMENT_KEYS, FILE_KEYS, MADE_OBJECTS, MODEL_ENTRY_KEYS, Key
from twodfs.oci.documents import Json

_DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"


def build_file_schema() -> Json:
    """Return the schema."""
    return {
        "$schema": _DIALECT,
        "title": "2DFS build file",
        "description": "Which files make up which allotment of a 2DFS image; 'twodfs build' reads it.",
        **_object(FILE_KEYS),
        "anyOf": [{"required": ["allotments"]}, {"required": ["models"]}],
        "$defs": {
            "allotment": {
                "description": "A cell of the field: one layer.",
                **_object(ALLOTMENT_KEYS),
            },
            "made": {
                "description": "A file or a link that is no file on the disk.",
                "anyOf": [_object(keys) for keys in MADE_OBJECTS],
            },
            "model": {
                "description": "A model's directory, made into cells and named partitions.",
                **_object(MODEL_ENTRY_KEYS),
            },
        },
    }


def written_schema() -> str:
    """Return the schema as it is printed."""
    return orjson.dumps(build_file_schema(), option=orjson.OPT_INDENT_2).decode() + "\n"


def _object(keys: Sequence[Key]) -> Json:
    return {
        "type": "object",
        "additionalProperties": False,
        "required": [key.name for key in keys if key.is_required],
        "properties": {key.name: _property(key) for key in keys},
    }


def _property(key: Key) -> Json:
    if key.is_required:
        return {"description": key.text, **key.schema}
    # null is the same as nothing, as YAML has it where a value is left out.
    if "anyOf" in key.schema:
        return {"description": key.text, "anyOf": [*key.schema["anyOf"], {"type": "null"}]}
    return {"description": key.text, "anyOf": [key.schema, {"type": "null"}]}
