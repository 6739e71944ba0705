"""Whether all that the proxy needs is there."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from proxy.insides import answers, client, server, tls, transports

Inventory = Mapping[type, tuple[str, ...]]
PROTECTING: Final[tuple[Inventory, ...]] = (
    transports.NEEDED,
    tls.NEEDED,
    answers.NEEDED,
    server.NEEDED,
    client.NEEDED,
)
"""Without these the proxy would take requests that it must refuse, or wait for ever."""
BORROWING: Final[tuple[Inventory, ...]] = (tls.NEEDED_TO_BORROW, server.NEEDED_TO_BORROW, client.NEEDED_TO_BORROW)
"""Without these bodies pass more slowly."""


def missing(inventories: tuple[Inventory, ...]) -> str | None:
    """Return the names of missing parts, as ``RequestHandler._messages, ...``; None when everything is."""
    wanted = ((owner, name) for one in inventories for owner, names in one.items() for name in names)
    return ", ".join(f"{owner.__name__}.{name}" for owner, name in wanted if not hasattr(owner, name)) or None
