"""Which aiohttp and Python are installed, and the change needed where the proxy cannot use them."""

from __future__ import annotations

import platform
from typing import Final

import aiohttp

VERSIONS: Final = f"aiohttp {aiohttp.__version__} on Python {platform.python_version()}"
ADVICE: Final = "install the version of aiohttp that requirements.lock names"


def without(error: ImportError) -> str | None:
    """Return a sentence about the parts that aiohttp or asyncio lacks; None when ``error`` is about another library."""
    if (error.name or "").partition(".")[0] not in {"aiohttp", "asyncio"}:
        return None
    return f"{VERSIONS} is not what the proxy needs: {error.msg.partition(' (')[0]}; {ADVICE}"
