"""The paths of an edge directory, and its secret.

oci-layout, index.json   so that other tools read the directory as an OCI image layout
blobs/ALGORITHM/HEX      whole, verified content; nothing else is ever there under such a name
ingest/sha256/HEX        content that is on its way, see ``proxy.edge.filling.partial``
state.sqlite             small facts; losing it loses no content
secret                   keys the hashes of credentials
admin-token              lets the holder of the directory use the prefetch endpoint
keeper.lock              held by the process that cleans up; space.lock by the one that makes room, for a moment
"""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from proxy.edge.disk.files import beside, flush_directory, write_atomically
from twodfs.oci.digest import Digest

_OCI_LAYOUT: Final = b'{"imageLayoutVersion":"1.0.0"}'
_SECRET_BYTES: Final = 32
_OWNERS: Final = 0o700
"""Content is of repositories that not every user of the machine may read."""
ALGORITHMS: Final = ("sha256", "sha512")


class EdgeError(Exception):
    """The edge directory cannot be used; the message names it and says what to do."""


@dataclass(frozen=True, slots=True)
class EdgeDirectory:
    """An edge directory, made where it is missing."""

    root: Path

    @classmethod
    def open(cls, root: Path) -> EdgeDirectory:
        """Return the directory at ``root``.

        Raises:
            EdgeError: it cannot be made or written to.
        """
        opened = cls(root.absolute())
        try:
            opened.root.parent.mkdir(parents=True, exist_ok=True)
            opened.root.mkdir(mode=_OWNERS, exist_ok=True)
            opened.make_parts()
        except OSError as error:
            raise _unusable(root, error.errno) from None
        return opened

    @staticmethod
    def look_at(root: Path) -> None:
        """Look whether ``open`` would do, and change nothing.

        Raises:
            EdgeError: it would not.
        """
        there = root.absolute()
        while not there.exists() and there != there.parent:
            there = there.parent
        if not there.is_dir():
            raise _unusable(root, errno.ENOTDIR)
        if os.statvfs(there).f_flag & os.ST_RDONLY:
            raise _unusable(root, errno.EROFS)
        if not os.access(there, os.R_OK | os.W_OK | os.X_OK):
            raise _unusable(root, errno.EACCES)

    def contents(self, algorithm: str) -> Path:
        """Return where whole content is whose digest is of ``algorithm``."""
        return self.root / "blobs" / algorithm

    @property
    def ingest(self) -> Path:
        """Where content is that is on its way."""
        return self.root / "ingest" / "sha256"

    @property
    def state(self) -> Path:
        """The SQLite file."""
        return self.root / "state.sqlite"

    @property
    def index(self) -> Path:
        """The OCI image layout's list of images."""
        return self.root / "index.json"

    @property
    def space_lock(self) -> Path:
        """Locked by the process that makes room."""
        return self.root / "space.lock"

    @property
    def keeper_lock(self) -> Path:
        """Locked by the process that keeps the directory."""
        return self.root / "keeper.lock"

    def make_parts(self) -> None:
        """Make what is missing in the directory, which is there; raises ``OSError``."""
        for path in (*map(self.contents, ALGORITHMS), self.ingest):
            path.parent.mkdir(exist_ok=True)
            path.mkdir(exist_ok=True)
        layout = self.root / "oci-layout"
        if not layout.is_file() or layout.read_bytes() != _OCI_LAYOUT:
            write_atomically(layout, _OCI_LAYOUT)

    def blob(self, digest: Digest) -> Path:
        """Return where the content with ``digest`` is, if it is whole."""
        algorithm, _, encoded = digest.partition(":")
        return self.root / "blobs" / algorithm / encoded

    def secret(self) -> bytes:
        """Return the key of hashes of credentials, made once.

        Raises:
            EdgeError: it cannot be read or written.
        """
        return self._kept("secret", secrets.token_bytes(_SECRET_BYTES))

    def admin_token(self) -> str:
        """Return the token of the prefetch endpoint, made once; raises like ``secret``."""
        return self._kept("admin-token", secrets.token_urlsafe(_SECRET_BYTES).encode()).decode()

    def _kept(self, name: str, new: bytes) -> bytes:
        """Return the content of a private file, and ``new`` where there is none: the first process decides."""
        path = self.root / name
        try:
            with contextlib.suppress(FileNotFoundError):
                if content := path.read_bytes():
                    return content
            with beside(path) as (descriptor, written):
                os.write(descriptor, new)
                os.fsync(descriptor)
                with contextlib.suppress(FileExistsError):
                    os.link(written, path)
            flush_directory(self.root)
            return path.read_bytes()
        except OSError as error:
            raise EdgeError(f"{path} cannot be used: {error.strerror}") from None


def _unusable(root: Path, reason: int | None) -> EdgeError:
    said = os.strerror(reason) if reason else "it does not answer"
    return EdgeError(
        f"edge.directory {root} cannot be used: {said}; name a directory on a disk of this machine that user "
        f"{os.geteuid()} may read and write"
    )
