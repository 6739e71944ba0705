"""What is to be brought to a node: the JSON that the command sends, and that the node reads strictly."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Final

from proxy.cache.images.reference import CachedName
from proxy.prefetch.terms import TermsError, Window, parse_rate
from proxy.repository import DEFAULT_UPSTREAM
from twodfs.cli.parser import nearest
from twodfs.credentials.credentials import Credentials
from twodfs.errors import TwodfsError, UsageError
from twodfs.oci.platforms import Platform

MOST_IMAGES: Final = 10_000
_CREDENTIALS: Final = ("username", "password", "identityToken", "registryToken")
_SECRETS: Final = ("credentials", "upstreams")


class OrderError(UsageError):
    """An order or a site file is not as it must be; the message has the path of the key."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """An image or a partition that is to be on the node.

    Attributes:
        name: as clients pull it.
        pin: whether it is to stay.
        platforms: of its images; empty for all.
    """

    name: CachedName
    pin: bool = False
    platforms: tuple[Platform, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Return it as JSON."""
        platforms = {"platforms": list(map(str, self.platforms))} if self.platforms else {}
        return {"reference": str(self.name), "pin": self.pin, **platforms}


@dataclass(frozen=True, slots=True)
class Order:
    """All of one job.

    Attributes:
        images: what is wanted; each once.
        rate: bytes per second that the job's transfers take from the line together; None for no cap.
        window: when it works; None for always.
        prune_pins: whether all other pins of the node end, once every image is there.
        detach: whether the job goes on when the one who ordered it leaves.
        credentials: for the default registry, where the node has none; they live as long as the job.
        others: those for each further registry, by its name.
    """

    images: tuple[Wanted, ...]
    rate: float | None = None
    window: Window | None = None
    prune_pins: bool = False
    detach: bool = False
    credentials: Credentials | None = field(default=None, repr=False)
    others: Mapping[str, Credentials] = field(default_factory=dict, repr=False)

    def credentials_for(self, upstream: str) -> Credentials | None:
        """Return the credentials for the registry ``upstream``; those for another are none for this one."""
        return self.credentials if upstream == DEFAULT_UPSTREAM else self.others.get(upstream)

    def to_dict(self) -> dict[str, Any]:
        """Return it as JSON, credentials included."""
        found: dict[str, Any] = {"images": [one.to_dict() for one in self.images]}
        if self.rate is not None:
            found["rate"] = f"{self.rate:.0f}B"
        if self.window is not None:
            found["window"] = str(self.window)
        found |= {"prunePins": self.prune_pins, "detach": self.detach}
        if self.credentials is not None:
            found["credentials"] = _written(self.credentials)
        if self.others:
            found["upstreams"] = {name: _written(one) for name, one in self.others.items()}
        return found

    @classmethod
    def from_dict(cls, raw: object) -> Order:
        """Return the order in ``raw``.

        Raises:
            OrderError: it is none.
        """
        given = OrderKeys(raw, "", ("images", "rate", "window", "prunePins", "detach", *_SECRETS))
        found, others = (given.optional(name, dict) for name in _SECRETS)
        credentials = None if found is None else _read(found, "credentials")
        return cls(
            wanted_in(given, "images"),
            rate_in(given, "rate"),
            window_in(given, "window"),
            prune_pins=given.optional("prunePins", bool) or False,
            detach=given.optional("detach", bool) or False,
            credentials=credentials,
            others={str(name): _read(one, f"upstreams.{name}") for name, one in (others or {}).items()},
        )


def _written(one: Credentials) -> dict[str, str]:
    values = (one.username, one.password, one.identity_token, one.registry_token)
    return {name: value for name, value in zip(_CREDENTIALS, values, strict=True) if value}


def _read(raw: object, path: str) -> Credentials:
    keys = OrderKeys(raw, path, _CREDENTIALS)
    return Credentials(*(keys.optional(name, str) or "" for name in _CREDENTIALS))


class OrderKeys:
    """A table whose keys are all known; errors name the path."""

    def __init__(self, raw: object, path: str, known: tuple[str, ...]) -> None:
        """Look at the keys.

        Raises:
            OrderError: it is no table, or has a key that is not ``known``.
        """
        if not isinstance(raw, dict):
            raise OrderError(f"{path or 'the whole'} is no table")
        self._path = path
        self._raw = raw
        for key in raw:
            if key not in known:
                hint = nearest(key, known) or f"; known are {', '.join(known)}"
                raise OrderError(f"{self.path(key)} is not known{hint}")

    def path(self, key: str) -> str:
        """Return where ``key`` stands, for messages."""
        return f"{self._path}.{key}" if self._path else key

    def optional(self, key: str, kind: type[Any]) -> Any:
        """Return the value of ``key``, None where it is absent; raises ``OrderError`` where it is no ``kind``."""
        value = self._raw.get(key)
        if value is not None and type(value) is not kind:
            names = {str: "a text", bool: "true or false", list: "a list", dict: "a table"}
            raise OrderError(f"{self.path(key)} is {value!r}; expected {names[kind]}")
        return value

    def required(self, key: str, kind: type[Any]) -> Any:
        """Return the value of ``key``; raises ``OrderError`` where it is absent or no ``kind``."""
        value = self.optional(key, kind)
        if value is None:
            raise OrderError(f"{self.path(key)} is missing")
        return value

    @contextmanager
    def at(self, key: str) -> Iterator[None]:
        """Put the path of ``key`` in front of what is wrong with its value."""
        try:
            yield
        except (TermsError, TwodfsError) as error:
            raise OrderError(f"{self.path(key)}: {error}") from None


def wanted_in(given: OrderKeys, key: str) -> tuple[Wanted, ...]:
    """Return the images listed under ``key``.

    Raises:
        OrderError: there are none or too many, one is none, or stands twice.
    """
    found: dict[CachedName, Wanted] = {}
    entries = given.required(key, list)
    if not 1 <= len(entries) <= MOST_IMAGES:
        raise OrderError(f"{given.path(key)} has {len(entries)} entries; expected 1 to {MOST_IMAGES}")
    for at, entry in enumerate(entries):
        keys = OrderKeys(entry, f"{given.path(key)}[{at}]", ("reference", "pin", "platforms"))
        with keys.at("reference"):
            name = CachedName.parse(keys.required("reference", str))
            _ = name.readings
        if name in found:
            raise OrderError(f"{keys.path('reference')}: {name} stands there twice")
        platforms = []
        with keys.at("platforms"):
            for text in keys.optional("platforms", list) or ():
                if not isinstance(text, str):
                    raise OrderError(f"{text!r} is no text")
                platforms.append(Platform.parse(text))
        found[name] = Wanted(name, keys.optional("pin", bool) or False, tuple(platforms))
    return tuple(found.values())


def rate_in(given: OrderKeys, key: str) -> float | None:
    """Return the rate under ``key``, in bytes per second; None where it is absent; raises ``OrderError``."""
    text = given.optional(key, str)
    with given.at(key):
        return None if text is None else parse_rate(text)


def window_in(given: OrderKeys, key: str) -> Window | None:
    """Return the window under ``key``; None where it is absent; raises ``OrderError``."""
    text = given.optional(key, str)
    with given.at(key):
        return None if text is None else Window.parse(text)
