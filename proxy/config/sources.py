"""Flags, environment and file, merged; mistakes put into words that name the source."""

from __future__ import annotations

import difflib
import re
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final, get_args, get_type_hints

import orjson
from pydantic import BaseModel, SecretStr, ValidationError
from pydantic_core import ErrorDetails

from proxy.config.registries import FurtherUpstreamConfig
from proxy.config.schema import Config
from proxy.config.section import Section
from twodfs.files import read_file

ENVIRONMENT_PREFIX: Final = "TWODFS_PROXY_"
_FURTHER: Final = "upstreams"
_DEFAULT: Final = "default"
# --upstream, TWODFS_PROXY_UPSTREAM and a plain `upstream = "http://..."` all mean the URL.
_SHORT_FORMS: Final = {"upstream": "upstream.url"}
# How the design calls them, where that is not the path; answered with the name that counts.
_OTHER_NAMES: Final = {
    "auth_ttl": "auth.ttl",
    "allow_anonymous_clients": "auth.clients.allow_anonymous",
    "signing_key": "signing.key",
}
# Variables that Kubernetes sets in every container beside a Service that is called twodfs-proxy.
_SERVICE_LINK: Final = re.compile(ENVIRONMENT_PREFIX + r"(SERVICE_HOST|SERVICE_PORT(_.*)?|PORT(_.*)?)")
_USER_INFO: Final = re.compile(r"//[^/@]*@")


class ConfigError(Exception):
    """The configuration cannot be used; the message has a line for each mistake."""


def settings() -> dict[str, type[BaseModel]]:
    """Return every setting's dotted path with the section that declares it, in their order."""
    return dict(_settings(Config, ""))


def _settings(section: type[BaseModel], prefix: str) -> Iterator[tuple[str, type[BaseModel]]]:
    for name, info in section.model_fields.items():
        kind = info.annotation
        if isinstance(kind, type) and issubclass(kind, Section):
            yield from _settings(kind, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", section


def environment_variable(path: str) -> str:
    """Return the environment variable of the setting at ``path``."""
    return ENVIRONMENT_PREFIX + path.replace(".", "_").upper()


def load(flags: Mapping[str, str | None], environment: Mapping[str, str], file: Path | None = None) -> Config:
    """Return the configuration that the sources give together.

    Args:
        flags: dotted path to value; None where the flag was not given.
        environment: the process environment.
        file: a TOML file.

    Raises:
        ConfigError: a source cannot be read, a key is unknown or a value is not allowed. Values of secrets
            are not in the message.
    """
    origins: dict[str, str] = {}
    merged: dict[str, Any] = {}
    layers = (
        (_from_file(file) if file else {}, f"file {file}"),
        (_from_environment(environment), "environment"),
        ({path: value for path, value in flags.items() if value is not None}, "flag"),
    )
    for layer, origin in layers:
        for given, value in layer.items():
            path = _SHORT_FORMS.get(given, given)
            origins[path] = f"environment {environment_variable(given)}" if origin == "environment" else origin
            _place(merged, path, value)
    try:
        return Config.model_validate(merged)
    except ValidationError as error:
        raise ConfigError("\n".join(_explain(one, merged, origins) for one in error.errors())) from None


def _from_file(file: Path) -> dict[str, Any]:
    try:
        content = tomllib.loads(read_file(file, may_be_pipe=True).decode())
    except OSError as error:
        raise ConfigError(f"cannot read {file}: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{file} is not TOML: {error}") from None
    return dict(_flat(_with_default(content, file), ""))


def _with_default(content: dict[str, Any], file: Path) -> dict[str, Any]:
    """Return the content of a file, with one of its ``[[upstream]]`` tables as the default registry's.

    Raises:
        ConfigError: several are to be, or none is clear.
    """
    tables = content.get("upstream")
    if not isinstance(tables, list) or not any(isinstance(one, dict) for one in tables):
        return content  # a URL, or those of one registry
    if not all(isinstance(one, dict) for one in tables):
        raise ConfigError(f"{file}: upstream is a URL, a table [upstream], or tables [[upstream]]")
    if content.get("upstreams"):
        raise ConfigError(f"{file}: further registries are [[upstream]] or upstreams, not both")
    marks = [one.pop(_DEFAULT, False) for one in tables]
    if not all(isinstance(mark, bool) for mark in marks):
        raise ConfigError(f"{file}: {_DEFAULT} of an [[upstream]] is true or false")
    if sum(marks) > 1:
        raise ConfigError(f"{file}: {_DEFAULT} = true is for one of the [[upstream]] alone")
    default = tables.pop(marks.index(True) if any(marks) else 0)
    return content | {"upstream": default, _FURTHER: tables}


def _flat(content: Mapping[str, Any], prefix: str) -> Iterator[tuple[str, Any]]:
    sections = {path.rpartition(".")[0] for path in settings()}
    for key, value in content.items():
        path = f"{prefix}{key}"
        if isinstance(value, dict) and path in sections:
            yield from _flat(value, f"{path}.")
        else:
            yield path, value


def _from_environment(environment: Mapping[str, str]) -> dict[str, str]:
    by_variable = {environment_variable(path): path for path in (*settings(), *_SHORT_FORMS)}
    found = {}
    for variable, value in environment.items():
        if not variable.startswith(ENVIRONMENT_PREFIX) or _SERVICE_LINK.fullmatch(variable):
            continue
        if variable not in by_variable:
            raise ConfigError(f"environment variable {variable} is not known{_meant(variable, by_variable)}")
        found[by_variable[variable]] = value
    return found


def _place(merged: dict[str, Any], path: str, value: Any) -> None:
    *sections, name = path.split(".")
    target = merged
    for section in sections:
        if not isinstance(target.setdefault(section, {}), dict):
            target[section] = {}  # a lower layer has a plain value here; the new one overrides it
        target = target[section]
    target[name] = value


def _explain(error: ErrorDetails, merged: Mapping[str, Any], origins: Mapping[str, str]) -> str:
    path = ".".join(str(part) for part in error["loc"])
    if path.startswith(f"{_FURTHER}."):
        return _explain_further(error, merged[_FURTHER], origins[_FURTHER])
    if error["type"] == "missing" and path not in ("upstream", "upstream.url"):
        return f"{path} is missing ({origins.get(_setting(path), 'file')})"
    if error["type"] == "missing":
        variable = environment_variable("upstream")
        return f"upstream.url is missing: give --upstream, {variable} or the key in the TOML file"
    if error["type"] == "extra_forbidden":
        return f"{path} is not known ({origins.get(path, 'file')}){_meant(path, settings())}"
    if not path:
        return _allowed(error)
    shown = _shown(_value_at(merged, path), is_secret=path == _FURTHER or _is_secret(path, settings()))
    return f"{path}{shown} is not allowed ({origins.get(_setting(path), 'configuration')}): {_allowed(error)}"


def _explain_further(error: ErrorDetails, tables: Any, origin: str) -> str:
    """Return what is wrong with the table of a further registry, which has its name and its own settings."""
    _, at, *parts = error["loc"]
    tables = orjson.loads(tables) if isinstance(tables, str) else tables
    table = tables[int(at)]
    name = table.get("name") if isinstance(table, dict) else None
    is_named = isinstance(name, str) and name
    called = f"[[upstream]] {name}" if is_named else f"the further [[upstream]] number {int(at) + 1}"
    path = ".".join(map(str, parts))
    known = dict(_settings(FurtherUpstreamConfig, ""))
    if error["type"] == "missing":
        return f"{called}: {path} is missing ({origin})"
    if error["type"] == "extra_forbidden":
        return f"{called}: {path} is not known ({origin}){_meant(path, known)}"
    shown = _shown(_value_at(table, path), is_secret=not path or _is_secret(path, known))
    return f"{called}{f': {path}' if path else ''}{shown} is not allowed ({origin}): {_allowed(error)}"


def _allowed(error: ErrorDetails) -> str:
    allowed = error["msg"].removeprefix("Value error, ")
    return allowed[:1].lower() + allowed[1:]


def _shown(value: Any, *, is_secret: bool) -> str:
    """Return a value that is not allowed, to be shown; nothing of a table, which may hold secrets beside the fault."""
    is_shown = isinstance(value, str | int | float) and not is_secret
    return f" {_USER_INFO.sub('//***@', repr(value))}" if is_shown else ""


def _setting(path: str) -> str:
    """Return the setting that ``path`` is or is a part of: ``auth.clients.rules`` for ``….rules.0``."""
    known = settings()
    parts = path.split(".")
    prefixes = (".".join(parts[:length]) for length in range(len(parts), 0, -1))
    return next((prefix for prefix in prefixes if prefix in known), path)


def _meant(name: str, known: Iterable[str]) -> str:
    """Return how a sentence about an unknown name ends: with the nearest one, or where all are listed."""
    known = tuple(known)
    last = name.rpartition(".")[2]
    other = _OTHER_NAMES.get(last)
    same_end = [one for one in known if one.rpartition(".")[2] == last]
    nearest = difflib.get_close_matches(name, known, n=1)
    if other in known:
        nearest = [str(other)]
    elif len(same_end) == 1:
        nearest = same_end
    return f"; did you mean {nearest[0]}?" if nearest else "; config.example.toml lists every setting"


def _is_secret(path: str, known: Mapping[str, type[BaseModel]]) -> bool:
    """Say whether the value at ``path``, which is one of ``known``, must not be shown."""
    section, name = known.get(path), path.rpartition(".")[2]
    kinds = get_type_hints(section).get(name) if section else None
    return kinds is SecretStr or SecretStr in get_args(kinds)


def _value_at(merged: Mapping[str, Any], path: str) -> Any:
    value: Any = merged
    for part in path.split("."):
        if isinstance(value, list) and part.isdecimal() and int(part) < len(value):
            value = value[int(part)]
        else:
            value = value.get(part) if isinstance(value, Mapping) else None
    return value
