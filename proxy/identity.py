"""Who asks: the client's own credentials, which are all that ever goes upstream for it."""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from aiohttp import hdrs
from multidict import istr

# Made anew in each process: a fingerprint that leaks from one is worth nothing anywhere else.
_PROCESS_SECRET: Final = secrets.token_bytes(32)
_CREDENTIALS: Final = (hdrs.AUTHORIZATION, hdrs.COOKIE)


@dataclass(frozen=True, slots=True)
class Identity:
    """What a client authenticates with, and a keyed hash that stands for it in memory.

    Two requests with the same fingerprint have the same rights upstream, so one answer serves both.
    """

    headers: Mapping[istr, str] = field(repr=False, compare=False)
    fingerprint: bytes = field(repr=False)

    @classmethod
    def of(cls, headers: Mapping[str, str]) -> Identity:
        """Return the identity in a request's headers."""
        found = {name: headers[name] for name in _CREDENTIALS if name in headers}
        mac = hmac.new(_PROCESS_SECRET, digestmod=hashlib.sha256)
        for name, value in found.items():
            text = value.encode("utf-8", "surrogateescape")
            mac.update(b"%s:%d:" % (name.encode(), len(text)))
            mac.update(text)
        return cls(found, mac.digest())
