"""What breaks an exchange off, in words that are ours.

The library's own sentences quote what was sent, which may be secret, and name addresses with their queries,
which may be signed.
"""

from __future__ import annotations

import aiohttp


def describe(error: Exception) -> str:
    """Return what broke an exchange off, to be read after "... broke off: "."""
    if isinstance(error, aiohttp.ClientResponseError | ValueError):
        return "what it sent is not HTTP"
    if isinstance(error, aiohttp.ClientPayloadError):
        return "its answer ended early, or is not framed as HTTP has it"
    return str(error) or type(error).__name__
