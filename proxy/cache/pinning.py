"""Images that stay: all that they are made of, one by one."""

from __future__ import annotations

from proxy.cache.images.finding import CachedImage
from proxy.edge.disk.store import EdgeStore


async def pin_image(store: EdgeStore, image: CachedImage) -> None:
    """Let ``image`` stay, and of a partition what it is cut from, without allotments that it does not have.

    Raises:
        sqlite3.Error: the pin cannot be written.
    """
    for document in image.made.values():
        await store.blobs.put(document.digest, document.body)
    parts = {part.digest for part in (*image.parts, *image.sources)}
    await store.pins.pin(image.name.place, image.name.tag, image.root.digest, sorted(parts - {image.root.digest}))
