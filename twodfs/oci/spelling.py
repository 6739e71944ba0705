"""Keys that Go takes for others: they differ by case alone.

Engines are written in Go, whose ``encoding/json`` looks for a struct's field by the key as it is written,
then by the key without its case: ``"Layers"`` is ``layers`` to them, and of several the last one counts. So
we read a document with such a key otherwise than they do. A key is therefore refused where a schema
knows it in another spelling, whether that one is there as well or not; where a schema leaves the keys to
people (annotations, labels, names of partitions), every key is welcome.

Case is folded as Unicode's simple folding has it: LATIN SMALL LETTER LONG S is an ``s`` and KELVIN SIGN is a
``k``. No other character outside ASCII is a letter that known keys are made of.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

from twodfs.errors import FormatError, within

_LONG_S: Final = "\N{LATIN SMALL LETTER LONG S}"


def folded(key: str) -> str:
    """Return ``key`` as Go's ``encoding/json`` compares it; the same for all spellings of an ASCII key."""
    return key.lower().replace(_LONG_S, "s")  # the small form of KELVIN SIGN is a plain k


class Keys:
    """The keys that a schema knows at one place of a document."""

    __slots__ = ("_known", "_spelled")

    def __init__(self, *known: str) -> None:
        self._known = frozenset(known)
        self._spelled = {folded(key): key for key in known}

    def check(self, members: Iterable[str]) -> None:
        """Make sure that no key of ``members`` is a known one in another spelling; linear in their number.

        Raises:
            FormatError: one is; its path is the key.
        """
        if self._known.issuperset(members):
            return
        for key in members:
            known = self._spelled.get(folded(key))
            if known is not None and key != known:
                raise FormatError(f"engines take the key {key!a} for {known!r}; expected {known!r}", key)


# The keys of the structs of image-spec and of Docker at each place.
_TOP_KEYS: Final = Keys(
    *("schemaVersion", "mediaType", "artifactType", "annotations", "subject"),
    *("config", "layers", "manifests"),
    *("fsLayers", "signatures"),  # of schema 1: engines look for them to tell manifests apart
)
_DESCRIPTOR_KEYS: Final = Keys(
    *("mediaType", "digest", "size", "urls", "annotations", "data", "platform", "artifactType")
)
_PLATFORM_KEYS: Final = Keys("architecture", "os", "os.version", "os.features", "variant", "features")
_CONFIG_KEYS: Final = Keys(
    *("created", "author", "architecture", "os", "os.version", "os.features", "variant", "config", "rootfs"),
    *("history", "id", "parent", "comment", "container", "container_config", "docker_version"),
)
_RUN_KEYS: Final = Keys(
    *("User", "ExposedPorts", "Env", "Entrypoint", "Cmd", "Volumes", "WorkingDir", "Labels", "StopSignal"),
    *("ArgsEscaped", "Memory", "MemorySwap", "CpuShares", "Healthcheck", "OnBuild", "StopTimeout", "Shell"),
    *("Hostname", "Domainname", "AttachStdin", "AttachStdout", "AttachStderr", "Tty", "OpenStdin"),
    *("StdinOnce", "Image", "NetworkDisabled", "MacAddress"),
)
_HEALTH_KEYS: Final = Keys("Test", "Interval", "Timeout", "StartPeriod", "StartInterval", "Retries")
_ROOTFS_KEYS: Final = Keys("type", "diff_ids")
_HISTORY_KEYS: Final = Keys("created", "created_by", "author", "comment", "empty_layer")


def check_top_keys(members: Mapping[str, Any]) -> None:
    """Make sure that engines read the keys of a manifest or index, and of its ``subject``, as we do.

    Raises:
        FormatError: a known key is spelled otherwise; with the path.
    """
    _TOP_KEYS.check(members)
    if isinstance(subject := members.get("subject"), dict):
        with within("subject"):
            check_descriptor_keys(subject)


def check_descriptor_keys(members: Mapping[str, Any]) -> None:
    """Make sure of the keys of a descriptor and its platform; raises like ``check_top_keys``."""
    _DESCRIPTOR_KEYS.check(members)
    _check_member(members, "platform", _PLATFORM_KEYS)


def check_config_keys(members: Mapping[str, Any]) -> None:
    """Make sure of the keys of an image config, its history left out; raises like ``check_top_keys``."""
    _CONFIG_KEYS.check(members)
    _check_member(members, "rootfs", _ROOTFS_KEYS)
    for key in ("config", "container_config"):
        _check_member(members, key, _RUN_KEYS)
        if isinstance(run := members.get(key), dict):
            with within(key):
                _check_member(run, "Healthcheck", _HEALTH_KEYS)


def check_history_keys(entries: Iterable[Mapping[str, Any]]) -> None:
    """Make sure of the keys of a config's ``history``; raises like ``check_top_keys``."""
    for at, entry in enumerate(entries):
        with within(f"history[{at}]"):
            _HISTORY_KEYS.check(entry)


def _check_member(members: Mapping[str, Any], name: str, keys: Keys) -> None:
    if isinstance(member := members.get(name), dict):
        with within(name):
            keys.check(member)
