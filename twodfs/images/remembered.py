"""Manifests of a registry that come once, and are in the store from then on.

A tag is asked for each time, since it may have moved; of a base that was built on before, with a question that brings
no manifest, and that Docker Hub counts as no pull.
"""

from __future__ import annotations

from typing import BinaryIO

from twodfs.errors import DamagedError, RegistryError
from twodfs.oci.digest import Digest, is_digest
from twodfs.oci.documents import IMAGE_TYPES, MAX_MANIFEST_BYTES, Descriptor, Document, own_media_type
from twodfs.progress import Advance, silent
from twodfs.registry.repository import RemoteRepository
from twodfs.storage.store import ImageStore, base_name_of


class RememberedManifests:
    """The repository of a base as an ``ImageSource``, in which a tag means the same until the end. For any thread."""

    def __init__(self, repository: RemoteRepository, store: ImageStore, base_name: str) -> None:
        """Prepare to read the base ``base_name`` from its ``repository``; nothing is asked."""
        self._repository = repository
        self._store = store
        self._base_name = base_name
        self._named: dict[str, Document] = {}

    def manifest(self, reference: str) -> Document:
        """Return the manifest or index of a tag or digest; the store has it then.

        Raises:
            RegistryError: as ``RemoteRepository.manifest`` does.
            DigestError: as that does.
        """
        if reference in self._named:
            return self._named[reference]
        found = self._stored(Digest(reference), "") if is_digest(reference) else self._asked(reference)
        if found is None:
            found = self._repository.manifest(reference)
            self._store.put(found.body, found.digest)
        self._named[reference] = found
        return found

    def blob(self, digest: Digest, *, limit: int) -> bytes:
        """Return a blob of at most ``limit`` bytes."""
        return self._repository.blob(digest, limit=limit)

    def download(self, blob: Descriptor, file: BinaryIO, advance: Advance = silent) -> None:
        """Write a blob of any size into ``file``, from its start."""
        self._repository.download(blob, file, advance)

    def _asked(self, tag: str) -> Document | None:
        """Return the manifest that a tag names, where the store has it.

        Raises:
            RegistryError: the registry does not answer.
        """
        if not any(base_name_of(image) == self._base_name for _, image in self._store.index.images()):
            return None
        try:
            named = self._repository.resolve(tag)
        except RegistryError as error:
            if error.status is None:  # nor would it answer the next question
                raise
            return None  # the whole answer says what is wrong
        return self._stored(named.digest, named.media_type)

    def _stored(self, digest: Digest, media_type: str) -> Document | None:
        try:
            body = self._store.read(digest, limit=MAX_MANIFEST_BYTES)
        except DamagedError:
            return None
        own = own_media_type(body, media_type)
        return Document(own, digest, body) if own in IMAGE_TYPES else None
