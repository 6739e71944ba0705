"""Write the schema of the chart's `config` and `upstreams` from the program's own model: `make chart-docs`.

What the program takes from a TOML file, the schema takes, but for truth in place of a number, a number in
place of truth, and words behind a size; and null, which removes a key. `--check` writes nothing and says by
its status whether the schema is current.
"""

import json
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from proxy.config import Config

Schema = dict[str, Any]

_SCHEMA: Final = Path(__file__).parent / "twodfs-proxy" / "values.schema.json"
_KEPT: Final = {
    *("description", "enum", "pattern", "minLength", "maxLength", "minItems"),
    *("minimum", "maximum", "exclusiveMinimum"),
}
_NUMBER: Final = r"^\s*[-+0-9._eE]+\s*$"
_SIZE: Final = r"^\s*[0-9]*\.?[0-9]+\s*(?i:[kmgtpe]?|[kmgtpe]?b(it)?|[kmgtpe]ib(it)?)\s*$"
_TIME: Final = r"^\s*([-+0-9._eE]+|[0-9]{1,9}(\.[0-9]{1,6})? ?(s|m|min|h|d|w))\s*$"
_TRUTH: Final = r"^\s*(?i:true|false|yes|no|on|off|[tfyn10])\s*$"
# Text will do for each, as in a variable; its pattern is for text alone, the least and the most for numbers.
_PLAIN: Final[Mapping[str, Schema]] = {
    "string": {"type": ["string", "null"]},
    "integer": {"type": ["integer", "string", "null"], "pattern": _NUMBER},
    "number": {"type": ["number", "string", "null"], "pattern": _NUMBER},
    "boolean": {"type": ["boolean", "string", "null"], "pattern": _TRUTH},
}
# The chart reads these itself, in one form.
_OWN: Final[Mapping[str, Schema]] = {
    "listen": {"$ref": "#/$defs/address"},
    "admin": {"$ref": "#/$defs/address"},
    "public_url": {"type": ["string", "null"], "pattern": "^$|^https?://[^/?#@]+/*$"},
    "shutdown_grace": {"type": "number", "minimum": 0, "maximum": 86_400},
}


def schema() -> str:
    """Return the schema of the values as it should be: the chart's own part, and what is the program's."""
    written = json.loads(_SCHEMA.read_text(encoding="utf-8"))
    written["properties"]["config"] = config()
    written["properties"]["upstreams"] = upstreams()
    return json.dumps(written, indent=2) + "\n"


def config() -> Schema:
    """Return the schema of `config`; further registries are the chart's own `upstreams`."""
    model = Config.model_json_schema()
    settings = model["properties"]
    del settings["upstreams"]
    own = {name: {"description": settings.pop(name)["description"], **one} for name, one in _OWN.items()}
    others = _section(model, model["$defs"])["properties"]
    others["upstream"]["type"] = "object"
    others["upstream"]["properties"]["url"] |= {"type": ["string", "array", "null"], "items": _text({})}
    return {
        "type": "object",
        "description": "The program's configuration, from its own model: `make chart-docs`.",
        "additionalProperties": False,
        "required": ["listen", "admin", "shutdown_grace", "upstream"],
        "properties": own | others,
    }


def upstreams() -> Schema:
    """Return the schema of `upstreams`: the tables of a file, and what is the chart's own beside them."""
    shared = Config.model_json_schema()["$defs"]
    model = shared["FurtherUpstreamConfig"]
    table = _section(model, shared)["properties"]
    table["name"] |= {"type": "string", "minLength": 1}
    table["url"] |= {"type": ["string", "array"], "minLength": 1, "minItems": 1, "items": _text({})}
    key = {"type": "string", "pattern": "^[-._a-zA-Z0-9]+$"}
    own = {
        "default": {"type": "boolean", "description": "Whether requests that name no registry are for it."},
        "existingSecret": {"$ref": "#/$defs/resourceName", "description": "Secret that exists already."},
        "secretKeys": {
            "type": "object",
            "description": "Keys of the Secret, by the setting that gets the path of the key's file.",
            "additionalProperties": False,
            "properties": dict.fromkeys(_files(model, shared), key),
        },
        "egress": {
            "type": "array",
            "description": "Egress rules of the NetworkPolicy, in place of what follows from url.",
            "items": {"type": "object"},
        },
    }
    return {
        "type": ["array", "null"],
        "description": "Registries, from the program's own model: `make chart-docs`.",
        "items": {
            "type": "object",
            "additionalProperties": False,
            "required": ["name", "url"],
            "properties": table | own,
        },
    }


def _files(section: Schema, shared: Mapping[str, Schema], prefix: str = "") -> Iterator[str]:
    """Yield the settings that are paths of files."""
    for name, setting in section["properties"].items():
        kind = _kind(setting)
        if "$ref" in kind:
            yield from _files(_resolved(kind, shared), shared, f"{prefix}{name}.")
        elif kind.get("format") == "path":
            yield f"{prefix}{name}"


def _section(section: Schema, shared: Mapping[str, Schema]) -> Schema:
    return {
        "type": ["object", "null"],
        **_kept(section),
        "additionalProperties": False,
        "properties": {name: _setting(one, shared) for name, one in section["properties"].items()},
    }


def _setting(setting: Schema, shared: Mapping[str, Schema]) -> Schema:
    """Return the schema of one setting, or of a section."""
    made = _kept(setting)
    kind = _kind(setting)
    if "$ref" in kind:
        return _section(_resolved(kind, shared), shared)
    if "ge" in kind:  # a number of bytes, whose least one stands beside the model's two forms of it
        return {**made, "type": ["number", "string", "null"], "pattern": _SIZE, "minimum": kind["ge"]}
    made |= _kept(kind)
    if kind.get("format") == "time with a unit":
        return {**made, "type": ["number", "string", "null"], "pattern": _TIME}
    if "enum" in made:
        return {**made, "enum": [*made["enum"], None]}
    if kind["type"] == "array":  # or its items with commas between
        item = kind["items"]
        items = _table(_resolved(item, shared)) if "$ref" in item else _text(item)
        return {**made, "type": ["array", "string", "null"], "items": items}
    return made | _PLAIN[kind["type"]]


def _kind(setting: Schema) -> Schema:
    """Return what the setting is where it is not null."""
    if "ge" in setting or "anyOf" not in setting:
        return setting
    kinds: list[Schema] = [one for one in setting["anyOf"] if one.get("type") != "null"]
    (kind,) = kinds
    return kind


def _table(table: Schema) -> Schema:
    """Return the schema of a table in a list, which has lists of texts. TOML has no null there."""
    return {
        **_kept(table),
        "type": "object",
        "additionalProperties": False,
        "required": table["required"],
        "properties": {
            name: {**_kept(one), "type": "array", "items": _text(one["items"])}
            for name, one in table["properties"].items()
        },
    }


def _text(item: Schema) -> Schema:
    return {**_kept(item), "type": "string"}


def _kept(schema: Schema) -> Schema:
    return {name: one for name, one in schema.items() if name in _KEPT}


def _resolved(reference: Schema, shared: Mapping[str, Schema]) -> Schema:
    return shared[reference["$ref"].rpartition("/")[2]]


def main() -> None:
    """Write the schema, or check it."""
    current = schema()
    if "--check" in sys.argv[1:]:
        stale = _SCHEMA.read_text(encoding="utf-8") != current
        sys.exit(stale and "values.schema.json is stale: run make chart-docs")
    _SCHEMA.write_text(current, encoding="utf-8")


if __name__ == "__main__":
    main()
