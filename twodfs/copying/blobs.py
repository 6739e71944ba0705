"""Blobs carried from one repository to another."""

from __future__ import annotations

import threading
from collections.abc import Mapping

from twodfs.images.source import TRANSFERS
from twodfs.oci.digest import Digest
from twodfs.oci.documents import Descriptor, Document
from twodfs.progress import Progress, late_step
from twodfs.registry.relayed import RelayedBlob
from twodfs.registry.repository import RemoteRepository
from twodfs.registry.upload.parts import UploadMemory


class BlobCarrier:
    """Carries blobs to a repository: those that it lacks, from another one of its registry or through memory.

    Attributes:
        sent: the sizes of blobs that travelled.
        mounted: of those that the registry took itself.
        present: of those that were there.
    """

    def __init__(
        self,
        source: RemoteRepository,
        target: RemoteRepository,
        made: Mapping[Digest, Document],
        progress: Progress,
        *,
        mounts: bool,
        memory: UploadMemory,
    ) -> None:
        """Prepare for blobs of ``source``.

        Args:
            source: where they are.
            target: where they go.
            made: those that are at hand, as the configs of a partition.
            progress: listens.
            mounts: whether both are in one registry.
            memory: uploads that were begun before.
        """
        self._source = source
        self._target = target
        self._made = made
        self._progress = progress
        self._mount_from = source.name if mounts and source.name != target.name else None
        self._memory = memory
        self._transferring = threading.Semaphore(TRANSFERS)
        self.sent: list[int] = []
        self.mounted: list[int] = []
        self.present: list[int] = []

    def carry(self, blob: Descriptor, place: str = "") -> None:
        """Bring ``blob`` to the target; ``place`` says which cell it is, empty where it is none.

        Raises:
            RegistryError: a registry refuses.
            DigestError: the source has other content.
        """
        if self._target.has_blob(blob.digest):
            self.present.append(blob.size)
            return
        document = self._made.get(blob.digest)
        label = f"copy {blob.digest[:19]}{', ' if place else ''}{place}"
        with self._transferring, late_step(self._progress, label, blob.size) as advance:
            travelled = self._target.upload(
                blob,
                RelayedBlob(self._source, blob) if document is None else document.body,
                mount_from=self._mount_from if document is None else None,
                memory=self._memory,
                advance=advance,
            )
        (self.sent if travelled else self.mounted).append(blob.size)
