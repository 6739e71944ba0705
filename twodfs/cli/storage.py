"""What the commands do that look after the local store."""

from __future__ import annotations

from collections.abc import Sequence

from twodfs.build.housekeeping import list_images, parse_size, prune, remove_images
from twodfs.cli.console import print_json, say
from twodfs.cli.grid import count_text, size_text
from twodfs.oci.reference import Reference
from twodfs.storage.store import ImageStore, default_directory


def images(*, as_json: bool) -> None:
    """Print the images of the store.

    Raises:
        TwodfsError: see its subclasses.
    """
    found = list_images(ImageStore(default_directory()))
    if as_json:
        print_json({"images": [one.to_dict() for one in found]})
        return
    for one in found:
        count = count_text(one.allotments, "allotment")
        said = one.problem or f"{count}, {size_text(one.size)}"
        say(f"{one.reference}  {one.digest[:19]}  {said}")


def remove(texts: Sequence[str], *, as_json: bool, quiet: bool) -> None:
    """Forget images, and print which.

    Raises:
        TwodfsError: see its subclasses.
    """
    store = ImageStore(default_directory())
    references = list(dict.fromkeys(str(Reference.parse(text)) for text in texts))
    remove_images(store, references)
    if as_json:
        print_json({"removed": references})
        return
    for reference in () if quiet else references:
        say(reference)


def prune_store(size: str, *, images: bool, as_json: bool, quiet: bool) -> None:
    """Make the store smaller, and print by how much.

    Raises:
        TwodfsError: see its subclasses.
    """
    pruned = prune(ImageStore(default_directory()), parse_size(size), images=images)
    if as_json:
        print_json(pruned.to_dict())
        return
    if quiet:
        return
    for reference in pruned.images:
        say(f"forgot {reference}")
    for one in pruned.damaged:
        say(f"{one.reference} is damaged, and what it needs known in part only: {one.problem}")
    count = count_text(pruned.blobs, "blob")
    say(f"removed {count}, {size_text(pruned.freed)}; {size_text(pruned.left)} are left")
