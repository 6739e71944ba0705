"""Root file systems as path -> content: applied from layers, or read from a directory.

Only regular files count. A layer is applied as the OCI image-spec says (layer.md, "Applying Changesets"):
whiteouts hide what the layers below brought, an entry replaces what stood at its path.
"""

import io
import os
import posixpath
import tarfile
from collections.abc import Iterable
from pathlib import Path

import zstandard

_ZSTD = b"\x28\xb5\x2f\xfd"
_WHITEOUT = ".wh."
_OPAQUE = ".wh..wh..opq"


def apply_layers(layers: Iterable[bytes]) -> dict[str, bytes]:
    """Return the files that the layers, plain or compressed tars, give in this order."""
    files: dict[str, bytes] = {}
    for layer in layers:
        with tarfile.open(fileobj=io.BytesIO(_without_zstd(layer))) as archive:
            files = _applied(files, archive)
    return files


def _without_zstd(layer: bytes) -> bytes:
    """Return `layer`, decompressed where `tarfile` does not know how."""
    if not layer.startswith(_ZSTD):
        return layer
    return zstandard.ZstdDecompressor().decompressobj().decompress(layer)


def read_tree(root: Path) -> dict[str, bytes]:
    """Return the regular files below a directory; symbolic links are not followed."""
    paths = (Path(folder, name) for folder, _, names in os.walk(root) for name in names)
    return {
        str(path.relative_to(root)): path.read_bytes() for path in paths if path.is_file() and not path.is_symlink()
    }


def _applied(lower: dict[str, bytes], archive: tarfile.TarFile) -> dict[str, bytes]:
    kept, brought = dict(lower), dict[str, bytes]()
    for member in archive:
        path = posixpath.normpath(member.name).lstrip("/")
        folder, name = posixpath.split(path)
        if name == _OPAQUE:
            _drop_below(kept, folder)
        elif name.startswith(_WHITEOUT):
            _drop(kept, posixpath.join(folder, name.removeprefix(_WHITEOUT)))
        elif member.isdir():
            kept.pop(path, None)
        else:
            _drop(kept, path)
            if member.isreg():
                brought[path] = _content(archive, member)
            elif member.islnk():
                target = posixpath.normpath(member.linkname).lstrip("/")
                brought[path] = brought[target] if target in brought else kept[target]
    return kept | brought


def _drop(files: dict[str, bytes], path: str) -> None:
    files.pop(path, None)
    _drop_below(files, path)


def _drop_below(files: dict[str, bytes], folder: str) -> None:
    prefix = f"{folder}/" if folder else ""
    for path in [path for path in files if path.startswith(prefix)]:
        del files[path]


def _content(archive: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
    opened = archive.extractfile(member)
    if opened is None:
        raise tarfile.ReadError(f"{member.name} has no content")
    with opened:
        return opened.read()
