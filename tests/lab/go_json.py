"""JSON as Go's `encoding/json` decodes it into structs: what engines see, written from Go's own rules.

For each key of an object, in order: the field with that very name, else the field whose name is the same once
case is folded; what comes later overwrites what came before, objects member by member.
"""

import json
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeAlias

Struct: TypeAlias = "Mapping[str, Any]"
"""Field names and what each holds: a struct, a list with a struct for each of an array, or ANY."""

ANY: Struct = {}

PLATFORM = dict.fromkeys(["architecture", "os", "os.version", "os.features", "variant"], ANY)
DESCRIPTOR = dict.fromkeys(["mediaType", "digest", "size", "urls", "annotations", "artifactType"], ANY) | {
    "platform": PLATFORM
}
MANIFEST = dict.fromkeys(["schemaVersion", "mediaType", "artifactType", "annotations"], ANY) | {
    "config": DESCRIPTOR,
    "layers": [DESCRIPTOR],
    "manifests": [DESCRIPTOR],
    "subject": DESCRIPTOR,
}
RUN = dict.fromkeys(["User", "Env", "Entrypoint", "Cmd", "WorkingDir", "Labels", "StopSignal", "Shell"], ANY) | {
    "Healthcheck": dict.fromkeys(["Test", "Interval", "Timeout", "Retries"], ANY)
}
CONFIG = dict.fromkeys(["created", "author", "architecture", "os", "os.version", "variant"], ANY) | {
    "config": RUN,
    "rootfs": dict.fromkeys(["type", "diff_ids"], ANY),
    "history": [dict.fromkeys(["created", "created_by", "author", "comment", "empty_layer"], ANY)],
}
CELL = dict.fromkeys(["row", "col", "digest", "diffid", "size", "mediaType"], ANY)
FIELD = dict.fromkeys(["rows_size", "owner", "partitions"], ANY) | {
    "rows": [{"allotments": [CELL], "allotments_size": ANY}]
}
PAYLOAD = {
    "critical": {
        "identity": {"docker-reference": ANY},
        "image": {"docker-manifest-digest": ANY},
        "type": ANY,
    },
    "optional": ANY,
}

_ORBITS = {"\N{KELVIN SIGN}": "K", "\N{LATIN SMALL LETTER LONG S}": "S"}


class _Pairs(list[tuple[str, Any]]):
    """The members of an object, in order, each as often as it stands there."""


def _fold(name: str) -> str:
    """Return the smallest rune of the simple folding of each rune, as far as ASCII is concerned."""
    return "".join(_ORBITS.get(one, one.upper() if one.isascii() else one) for one in name)


def _by_fold(fields: Iterable[str], key: str) -> str | None:
    if key in fields:
        return key
    return next((name for name in fields if _fold(name) == _fold(key)), None)


def _by_name(fields: Iterable[str], key: str) -> str | None:
    return key if key in fields else None


def _decoded(shape: Any, value: Any, before: Any, match: Callable[[Iterable[str], str], str | None]) -> Any:
    if isinstance(shape, list) and isinstance(value, list) and not isinstance(value, _Pairs):
        return [_decoded(shape[0], one, None, match) for one in value]
    if not isinstance(shape, dict) or not shape or not isinstance(value, _Pairs):
        return value if shape == ANY or value is not None else before
    members = dict(before) if isinstance(before, dict) else {}
    for key, member in value:
        name = match(shape, key)
        if name is not None:
            members[name] = _decoded(shape[name], member, members.get(name), match)
    return members


def as_engines_read(shape: Struct, body: bytes) -> Any:
    """Return what Go makes of `body`, without the keys that are not in `shape`."""
    return _decoded(shape, json.loads(body, object_pairs_hook=_Pairs), None, _by_fold)


def as_written(shape: Struct, body: bytes) -> Any:
    """Return the same for a reader that takes keys by their very names."""
    return _decoded(shape, json.loads(body, object_pairs_hook=_Pairs), None, _by_name)
