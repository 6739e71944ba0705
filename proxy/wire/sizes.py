"""How much of a message's head is taken, and how much of its body is held."""

from __future__ import annotations

# A registry token is a JWT that can list many scopes; aiohttp's default of 8 KiB is too little for some.
MAX_FIELD_SIZE = 64 * 1024
MAX_LINE_SIZE = 16 * 1024
MAX_HEAD_SIZE = 128 * 1024
"""Bytes of a request's line and headers together."""
READ_BUFFER = 128 * 1024
"""Bytes of a body that are read ahead, on either side.

aiohttp stops reading at twice that, as much as asyncio takes from a socket at once: with less, each full
read would stop the connection and start it again.
"""
