"""Configuration: flags over environment over TOML file over defaults.

Every setting has one dotted path (``cache.redis_url``), which is its place in the TOML file and, upper-cased
with underscores behind ``TWODFS_PROXY_``, its environment variable (``TWODFS_PROXY_CACHE_REDIS_URL``).
"""

from __future__ import annotations

import ipaddress
import re
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Final, Literal
from urllib.parse import urlsplit

from pydantic import (
    BaseModel,
    BeforeValidator,
    ByteSize,
    ConfigDict,
    Field,
    PlainSerializer,
    SecretStr,
    ValidationError,
    model_validator,
)
from pydantic_core import ErrorDetails
from redis.asyncio.connection import parse_url

ENVIRONMENT_PREFIX: Final = "TWODFS_PROXY_"
# --upstream, TWODFS_PROXY_UPSTREAM and a plain `upstream = "http://..."` all mean the URL.
_SHORT_FORMS: Final = {"upstream": "upstream.url"}
_HOST: Final = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?")
_REDIS_OPTIONS: Final = {"host", "port", "db", "username", "password", "path", "connection_class"}
# What Kubernetes sets in every container beside a Service that is called twodfs-proxy.
_SERVICE_LINK: Final = re.compile(ENVIRONMENT_PREFIX + r"(SERVICE_HOST|SERVICE_PORT(_.*)?|PORT(_.*)?)")
_USER_INFO: Final = re.compile(r"//[^/@]*@")
_MAX_PORT: Final = 65535


class ConfigError(Exception):
    """The configuration cannot be used; the message has a line for each mistake."""


@dataclass(frozen=True, slots=True)
class Address:
    """Where a listener binds. Port 0 lets the system pick a free one."""

    host: str
    port: int

    @classmethod
    def parse(cls, text: object) -> Address:
        """Return the address that ``text`` (``host:port`` or ``[v6]:port``) writes.

        Raises:
            ValueError: it has another form.
        """
        host, colon, port = str(text).rpartition(":")
        bracketed = host.startswith("[") and host.endswith("]")
        host = host[1:-1] if bracketed else host
        valid_host = _is_ipv6(host) if bracketed else _HOST.fullmatch(host)
        if not (colon and valid_host and port.isascii() and port.isdigit() and int(port) <= _MAX_PORT):
            raise ValueError(f"expected host:port or [ipv6]:port with a port of 0 to {_MAX_PORT}")
        return cls(host, int(port))

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def _is_ipv6(text: str) -> bool:
    try:
        return ipaddress.ip_address(text).version == 6  # noqa: PLR2004 - the protocol's own number
    except ValueError:
        return False


def _address(value: object) -> Address:
    return value if isinstance(value, Address) else Address.parse(value)


def _address_or_none(value: object) -> Address | None:
    return None if value is None or value == "none" else _address(value)


def _origin(value: object) -> str:
    """Return a URL without a path: registries answer at ``/v2/`` of an origin, never below a prefix."""
    text = str(value).rstrip("/")
    parts = urlsplit(text)
    try:
        port_is_valid = parts.port is None or 0 < parts.port <= _MAX_PORT
    except ValueError:
        port_is_valid = False
    if "@" in parts.netloc:
        raise ValueError("expected no user or password in the URL; clients bring their own credentials")
    valid_host = parts.hostname and (_HOST.fullmatch(parts.hostname) or _is_ipv6(parts.hostname))
    if parts.scheme not in ("http", "https") or not valid_host or not port_is_valid:
        raise ValueError("expected http://host[:port] or https://host[:port]")
    if parts.path or parts.query or parts.fragment:
        raise ValueError("expected an origin, without a path: the registry's API is at /v2/ of it")
    return text


def _redis_url(value: object) -> object:
    text = value.get_secret_value() if isinstance(value, SecretStr) else str(value)
    if not text:
        return value
    try:
        options = parse_url(text)
    except ValueError:
        options = None
    if options is None or not set(options) <= _REDIS_OPTIONS:
        raise ValueError(
            "expected redis://[user:password@]host[:port][/db], rediss://… or unix:///path[?db=1]"
        )
    return value


def _seconds(*, least: float) -> Any:
    return Field(ge=least, le=86_400)


ListenAddress = Annotated[Address, BeforeValidator(_address), PlainSerializer(str)]
OptionalAddress = Annotated[
    Address | None,
    BeforeValidator(_address_or_none),
    PlainSerializer(lambda one: str(one) if one else "none"),
]
Origin = Annotated[str, BeforeValidator(_origin)]
Seconds = Annotated[float, _seconds(least=0.001)]
SecondsOrZero = Annotated[float, _seconds(least=0)]


class _Section(BaseModel):
    model_config = ConfigDict(
        extra="forbid", frozen=True, arbitrary_types_allowed=True, hide_input_in_errors=True
    )


class UpstreamConfig(_Section):
    """The registry behind the proxy."""

    url: Origin = Field(description="Origin of the stock registry, as http://127.0.0.1:5001.")
    connect_timeout: Seconds = Field(5, description="Seconds to open a connection.")
    read_timeout: Seconds = Field(
        300, description="Seconds the registry may stay silent, also while it checks an upload."
    )
    metadata_timeout: Seconds = Field(
        30, description="Seconds for one whole manifest, config or field that a partition is cut from."
    )
    max_connections: int = Field(2048, ge=1, le=65_535, description="Most connections to the registry.")
    keepalive_timeout: Seconds = Field(15, description="Seconds an idle connection is kept for reuse.")


class CacheConfig(_Section):
    """What has been made, in memory and in Redis."""

    redis_url: Annotated[SecretStr, BeforeValidator(_redis_url)] = Field(
        SecretStr(""), description="Redis shared by the replicas; empty: memory alone."
    )
    redis_timeout: Seconds = Field(0.25, description="Seconds one Redis call may take before it is given up.")
    redis_max_connections: int = Field(64, ge=1, le=10_000, description="Most connections to Redis.")
    redis_max_value: ByteSize = Field(
        ByteSize(16 * 2**20), ge=0, description="Largest value that is put into Redis."
    )
    key_prefix: str = Field(
        "twodfs", min_length=1, max_length=64, pattern=r"^[A-Za-z0-9_.:-]+$", description="Before each key."
    )
    memory: ByteSize = Field(
        ByteSize(256 * 2**20),
        ge=2**20,
        description="Bytes of documents kept in memory, least recent out first.",
    )
    tag_ttl: SecondsOrZero = Field(
        0, description="Seconds a tag's digest is trusted without asking; 0 asks on every request."
    )
    ttl: Seconds = Field(86_400, description="Seconds Redis keeps documents; they can be made again.")
    recipe_days: float = Field(
        90, gt=0, le=3650, description="Days Redis keeps what a pinned digest was cut from; not made again."
    )


class PartitionConfig(_Section):
    """How partitions are cut."""

    max_layers: int = Field(
        125, ge=1, le=4096, description="Most layers of a partition; Docker's classic store fails at 126."
    )
    max_field: ByteSize = Field(
        ByteSize(64 * 2**20), ge=1024, description="Largest field document that is read."
    )


class ClientConfig(_Section):
    """What a client may take."""

    idle_timeout: Seconds = Field(
        300, description="Seconds a client may neither send nor take anything in the middle of a request."
    )
    keepalive_timeout: Seconds = Field(75, description="Seconds an idle client connection is kept.")


class LogConfig(_Section):
    """Log lines, on standard error."""

    format: Literal["json", "console"] = Field("json", description="json for machines, console for people.")
    level: Literal["debug", "info", "warning", "error"] = Field("info", description="Least level logged.")


class Config(_Section):
    """The whole configuration."""

    listen: ListenAddress = Field(Address("127.0.0.1", 5000), description="Where clients connect.")
    admin: OptionalAddress = Field(
        Address("127.0.0.1", 9464), description="Listener of /healthz and /readyz; none turns it off."
    )
    public_url: Origin | None = Field(
        None, description="Origin in Location headers; unset: http:// and the request's Host."
    )
    shutdown_grace: SecondsOrZero = Field(
        30, description="Seconds that running requests get to finish after SIGTERM."
    )
    upstream: UpstreamConfig
    cache: CacheConfig = CacheConfig()
    partition: PartitionConfig = PartitionConfig()
    client: ClientConfig = ClientConfig()
    log: LogConfig = LogConfig()

    @model_validator(mode="after")
    def _listeners_differ(self) -> Config:
        if self.admin is not None and self.admin == self.listen and self.admin.port:
            raise ValueError("admin and listen are the same address; health must not be on the public port")
        return self


def settings() -> dict[str, type[BaseModel]]:
    """Return every setting's dotted path with the section that declares it, in their order."""
    return dict(_settings(Config, ""))


def _settings(section: type[BaseModel], prefix: str) -> Iterator[tuple[str, type[BaseModel]]]:
    for name, info in section.model_fields.items():
        kind = info.annotation
        if isinstance(kind, type) and issubclass(kind, _Section):
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
            origins[path] = (
                f"environment {environment_variable(given)}" if origin == "environment" else origin
            )
            _place(merged, path, value)
    try:
        return Config.model_validate(merged)
    except ValidationError as error:
        raise ConfigError("\n".join(_explain(one, merged, origins) for one in error.errors())) from None


def _from_file(file: Path) -> dict[str, Any]:
    try:
        content = tomllib.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"cannot read {file}: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{file} is not TOML: {error}") from None
    return dict(_flat(content, ""))


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
            raise ConfigError(
                f"environment variable {variable} is not known; known are {', '.join(sorted(by_variable))}"
            )
        found[by_variable[variable]] = value
    return found


def _place(merged: dict[str, Any], path: str, value: Any) -> None:
    *sections, name = path.split(".")
    target = merged
    for section in sections:
        if not isinstance(target.setdefault(section, {}), dict):
            target[section] = {}  # a lower layer has a plain value here; what is known is what overrides it
        target = target[section]
    target[name] = value


def _explain(error: ErrorDetails, merged: Mapping[str, Any], origins: Mapping[str, str]) -> str:
    path = ".".join(str(part) for part in error["loc"])
    if error["type"] == "missing":
        variable = environment_variable("upstream")
        return f"upstream.url is missing: give --upstream, {variable} or the key in the TOML file"
    if error["type"] == "extra_forbidden":
        return f"{path} is not known ({origins.get(path, 'file')}); known are {', '.join(settings())}"
    value = _value_at(merged, path)
    allowed = error["msg"].removeprefix("Value error, ")
    allowed = allowed[:1].lower() + allowed[1:]
    if not path:
        return allowed
    shown = "" if path == "cache.redis_url" else f" {_USER_INFO.sub('//***@', repr(value))}"
    return f"{path}{shown} is not allowed ({origins.get(path, 'configuration')}): {allowed}"


def _value_at(merged: Mapping[str, Any], path: str) -> Any:
    value: Any = merged
    for part in path.split("."):
        value = value.get(part) if isinstance(value, Mapping) else None
    return value
