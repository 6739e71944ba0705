"""Content-addressed blobs, and tar layers whose bytes depend on nothing but the files in them."""

import gzip
import hashlib
import io
import posixpath
import tarfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import zstandard

Files = Mapping[str, bytes]
"""Content by path, written as in a tar: `models/a.bin`, no leading slash. `.wh.NAME` is a whiteout."""

Compression = Literal["gzip", "none", "zstd"]

_MTIME = 1_767_225_600  # 2026-01-01T00:00:00Z
_PROGRAM_MAGICS = (b"\x7fELF", b"#!")


@dataclass(frozen=True, slots=True)
class Blob:
    content: bytes = field(repr=False)
    media_type: str
    digest: str = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "digest", sha256(self.content))

    @property
    def size(self) -> int:
        """In bytes."""
        return len(self.content)

    def descriptor(self, **more: Any) -> dict[str, Any]:
        return {"mediaType": self.media_type, "digest": self.digest, "size": self.size, **more}


@dataclass(frozen=True, slots=True)
class Layer:
    """A layer as a registry stores it, and the tar an engine unpacks from it."""

    blob: Blob
    tar: bytes = field(repr=False)
    diff_id: str


def sha256(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


def tar_layer(files: Files, compression: Compression, media_type: str) -> Layer:
    tar = tar_of(files)
    return Layer(blob=Blob(_compressed(tar, compression), media_type), tar=tar, diff_id=sha256(tar))


def _compressed(tar: bytes, compression: Compression) -> bytes:
    match compression:
        case "gzip":
            return gzip.compress(tar, compresslevel=1, mtime=0)
        case "zstd":
            return zstandard.ZstdCompressor().compress(tar)
        case "none":
            return tar


def tar_of(files: Files) -> bytes:
    """Return a tar with the files in order of their paths, each directory before what is in it."""
    written = io.BytesIO()
    with tarfile.open(fileobj=written, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for path in sorted({parent for file in files for parent in _parents(file)} | set(files)):
            content = files.get(path)
            entry = _entry(path, content)
            archive.addfile(entry, None if content is None else io.BytesIO(content))
    return written.getvalue()


def _entry(path: str, content: bytes | None) -> tarfile.TarInfo:
    entry = tarfile.TarInfo(path)
    entry.mtime = _MTIME
    if content is None:
        entry.type, entry.mode = tarfile.DIRTYPE, 0o755
    else:
        entry.size = len(content)
        entry.mode = 0o755 if content.startswith(_PROGRAM_MAGICS) else 0o644
    return entry


def _parents(path: str) -> list[str]:
    if path.startswith("/") or posixpath.normpath(path) != path:
        raise ValueError(f"{path!r}: a path in a layer is written without leading slash, '.' or '..'")
    folders = path.split("/")[:-1]
    return ["/".join(folders[: depth + 1]) for depth in range(len(folders))]
