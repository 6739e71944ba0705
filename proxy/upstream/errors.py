"""Causes of broken exchanges, in the proxy's own words.

The library's own sentences quote the request, which may be secret, and name addresses with their queries,
which may be signed.
"""

from __future__ import annotations

import aiohttp


def describe(error: Exception) -> str:
    """Return the cause of a broken exchange, to be read after "... broke off: "."""
    if isinstance(error, aiohttp.ClientResponseError | ValueError):
        return "what it sent is not HTTP"
    if isinstance(error, aiohttp.ClientPayloadError):
        return "its answer ended early, or is not framed as HTTP has it"
    return str(error) or type(error).__name__
