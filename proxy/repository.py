"""A repository of an upstream: the key of grants, contents, records and single flights."""

from __future__ import annotations

from dataclasses import dataclass

DEFAULT_UPSTREAM = ""
"""The name of the only upstream, or of the default one."""


@dataclass(frozen=True, slots=True)
class Repository:
    """A repository's name, and the upstream that it is of: equal names of two registries are two repositories."""

    upstream: str
    name: str

    @classmethod
    def of_key(cls, key: str) -> Repository:
        """Return the repository that ``str`` writes as ``key``."""
        upstream, mark, name = key.partition("!")
        return cls(upstream, name) if mark else cls(DEFAULT_UPSTREAM, key)

    def __str__(self) -> str:
        """Return the key under which stores keep its records: the bare name, where the upstream is the default.

        No name of a repository or an upstream has a ``!`` in it, so no two repositories have the same key.
        """
        return f"{self.upstream}!{self.name}" if self.upstream else self.name
