"""Images that commands read: out of the local store, else out of their registry."""

from __future__ import annotations

from twodfs.cli.registries import Registries
from twodfs.errors import BuildError, DamagedError, TwodfsError
from twodfs.oci.reference import Reference
from twodfs.publish.cutting import FoundImage, find_image, in_registry, in_store
from twodfs.storage.store import ImageStore, default_directory
from twodfs.storage.writing import unusable


def find(reference: Reference, registries: Registries, *, in_the_store: bool = True) -> FoundImage:
    """Return the image or partition that ``reference`` names: the store goes first, then the registry.

    Raises:
        BuildError: neither has it.
    """
    repository = f"{reference.registry}/{reference.repository}"
    if in_the_store and reference.digest is None and (store := existing_store()):
        found = find_image(in_store(store, repository), reference.name, repository=repository)
        if found is not None:
            return found
    registry = registries.open(reference.registry)
    look_up = in_registry(registry.repository(reference.repository))
    found = find_image(look_up, reference.name, repository=repository)
    if found is None:
        raise BuildError(
            f"{reference} is neither here nor in the registry, nor a partition of an image that is; "
            f"'twodfs inspect' shows what an image can be cut into"
        )
    return found


def found_again(reference: Reference, registries: Registries, damaged: DamagedError) -> FoundImage:
    """Return the registry's image under ``reference``; where that fails, the error is the damage."""
    try:
        return find(reference, registries, in_the_store=False)
    except TwodfsError:
        raise damaged from None


def existing_store() -> ImageStore | None:
    """Return the local store; None where there is none yet.

    Raises:
        BuildError: it cannot be read.
    """
    directory = default_directory()
    try:
        is_there = (directory / "index.json").exists()
    except OSError as error:
        raise unusable(directory, error.strerror) from None
    return ImageStore(directory) if is_there else None
