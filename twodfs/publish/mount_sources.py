"""Where in a registry a blob may lie already, so that it need not travel."""

from __future__ import annotations

import threading
from typing import Final

from twodfs.errors import InvalidReferenceError
from twodfs.flatten.compose import ANCHOR_CONFIG
from twodfs.oci.digest import Digest
from twodfs.oci.documents import CONFIG_TYPES, FIELD_LAYER
from twodfs.oci.reference import Reference
from twodfs.storage.inventory import take_inventory
from twodfs.storage.store import ImageStore

_OWN: Final = CONFIG_TYPES | {FIELD_LAYER, ANCHOR_CONFIG}


class MountSources:
    """Other repositories of a registry that blobs may be mounted from: those of the base and of the store's images.

    The images are read when something is lacking for the first time. Whether they were pushed is not known.
    """

    def __init__(self, store: ImageStore, target: Reference, base_name: str) -> None:
        """Prepare for ``target``; ``base_name`` is the reference of its base, empty for none."""
        self._store = store
        self._target = target
        self._base = self._repository_of(base_name)
        self._reading = threading.Lock()
        self._found: tuple[dict[Digest, str], dict[Digest, str]] | None = None

    def best_for(self, digest: Digest) -> str | None:
        """Return the repository that is the most likely to have a blob."""
        with self._reading:
            if self._found is None:
                self._found = self._read()
        own, others = self._found
        return own.get(digest) or self._base or others.get(digest)

    def _read(self) -> tuple[dict[Digest, str], dict[Digest, str]]:
        own: dict[Digest, str] = {}  # documents that no base has
        others: dict[Digest, str] = {}
        for name, image in self._store.index.images():
            repository = self._repository_of(name)
            if repository is not None:
                content = take_inventory(self._store, image)
                configs = [one.digest for one in content.blobs.values() if one.media_type in _OWN]
                own.update(dict.fromkeys([*content.allotments, *configs], repository))
                others.update(dict.fromkeys(content.blobs, repository))
        return own, others

    def _repository_of(self, name: str) -> str | None:
        """Return the repository of an image, where it is another one of the same registry."""
        try:
            other = Reference.parse(name) if name else None
        except InvalidReferenceError:
            other = None
        if other is None or other.registry != self._target.registry:
            return None
        return other.repository if other.repository != self._target.repository else None
