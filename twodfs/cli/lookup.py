"""Images that commands read: out of the local store, else out of their registry."""

from __future__ import annotations

from functools import partial
from http import HTTPStatus

from twodfs.cli.registries import Registries
from twodfs.errors import AuthError, BuildError, DamagedError, RegistryError, TwodfsError
from twodfs.images.source import Fetch
from twodfs.oci.documents import Descriptor
from twodfs.oci.reference import Reference
from twodfs.progress import Progress, Silent
from twodfs.publish.cutting import FoundImage, find_image, in_registry, in_store
from twodfs.storage.store import ImageStore, base_name_of, default_directory
from twodfs.storage.writing import unusable


def find(
    reference: Reference, registries: Registries, progress: Progress | None = None, *, in_the_store: bool = True
) -> FoundImage:
    """Return the image or partition that ``reference`` names: the store goes first, then the registry.

    ``progress`` listens to the layers of its base that come into the store, once they are read.

    Raises:
        BuildError: neither has it.
    """
    repository = f"{reference.registry}/{reference.repository}"
    if in_the_store and reference.digest is None and (store := existing_store()):
        fetch_for = partial(_fetch_for, store=store, registries=registries, progress=progress or Silent())
        found = find_image(in_store(store, repository, fetch_for), reference.name, repository=repository)
        if found is not None:
            return found
    look_up = in_registry(registries.repository(reference))
    found = find_image(look_up, reference.name, repository=repository)
    if found is None:
        raise BuildError(
            f"{reference} is neither here nor in the registry, nor a partition of an image that is; "
            f"'twodfs inspect' shows what an image can be cut into"
        )
    return found


def _fetch_for(image: Descriptor, *, store: ImageStore, registries: Registries, progress: Progress) -> Fetch | None:
    """Return what brings layers of the base of ``image`` into ``store``; None where the base has no name."""
    base_name = base_name_of(image)
    if not base_name:
        return None
    base = Reference.parse(base_name)

    def fetch(layer: Descriptor) -> bool:
        from twodfs.images.pull import fetch_layer  # noqa: PLC0415 - as a rule, nothing is lacking

        repository = registries.repository(base)
        try:
            fetch_layer(repository, layer, store, progress)
        except (RegistryError, AuthError) as error:
            if isinstance(error, RegistryError) and error.status == HTTPStatus.NOT_FOUND:  # it is none of the base's
                return False
            raise DamagedError(f"{store.lacks(layer.digest)}; it may be a layer of {base}, but: {error}") from None
        return True

    return fetch


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
