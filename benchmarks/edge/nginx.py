"""nginx, as the registry that blobs come from, as a server of the same files, and as a cache that fills."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from benchmarks.blobs.nginx import TUNED, Nginx

REPOSITORY: Final = "bench/blob"
_ROOT: Final = f"/v2/{REPOSITORY}/blobs"
_PIECE: Final = 2**20
_FILES: Final = """
    server {{
        listen 127.0.0.1:{port} backlog=4096;
        default_type application/octet-stream;
        location = /v2/ {{ return 200 "{{}}"; }}
        location ~ ^/v2/.*/blobs/sha256:([0-9a-f]+)$ {{ alias {files}/$1; }}
    }}
"""
_STORING: Final = """
    upstream registry {{ server {upstream}; keepalive 256; }}
    server {{
        listen 127.0.0.1:{port} backlog=4096;
        location / {{ root {files}; try_files $uri @registry; }}
        location @registry {{
            proxy_pass http://registry;
            proxy_http_version 1.1;
            proxy_set_header Connection "";
            root {files};
            proxy_store on;
            {tuning}
        }}
    }}
"""
_BUFFERS: Final = TUNED.replace(" proxy_max_temp_file_size 0;", "")
"""As the tuned proxy has them; what is stored goes through a temporary file by its nature."""


@dataclass(frozen=True, slots=True)
class Stock:
    """Blobs of random content as files, each named by its digest's hexadecimal digits."""

    directory: Path

    def add(self, size: int) -> str:
        """Write one more blob of ``size`` bytes, and return its target at a registry."""
        hashed, beside = hashlib.sha256(), self.directory / "new"
        with beside.open("wb") as file:
            for start in range(0, size, _PIECE):
                piece = os.urandom(min(_PIECE, size - start))
                hashed.update(piece)
                file.write(piece)
        beside.rename(self.directory / hashed.hexdigest())
        return f"{_ROOT}/sha256:{hashed.hexdigest()}"

    def clear(self) -> None:
        """Remove all blobs."""
        for file in self.directory.iterdir():
            file.unlink()


def serving(directory: Path, files: Path) -> Nginx:
    """Start an nginx that answers for the blobs in ``files`` with sendfile; configuration and logs in ``directory``."""
    return Nginx.configured(directory, _FILES, files=files)


def storing(directory: Path, upstream: str) -> Nginx:
    """Start an nginx that keeps what it fetched from HOST:PORT (``proxy_store``) below ``directory``."""
    files = directory / "kept"
    files.mkdir()
    return Nginx.configured(directory, _STORING, files=files, upstream=upstream, tuning=_BUFFERS)
