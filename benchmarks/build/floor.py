"""The least that a push can take: each file hashed once, and uploaded as it is."""

from __future__ import annotations

import hashlib
import subprocess
import time

from benchmarks.models import Model
from tests.lab.programs import environment, program

_UPLOAD = r"""
upload() {
    location=$("$CURL" --silent --show-error --fail --output /dev/null --dump-header - --request POST "$UPLOADS" |
        tr -d '\r' | sed -n 's/^[Ll]ocation: //p')
    "$CURL" --silent --show-error --fail --output /dev/null --header 'Content-Type: application/octet-stream' \
        --upload-file "$1" "$location&digest=sha256:$2"
}
export -f upload
xargs --max-procs=2 --max-lines=1 bash -euc 'upload "$0" "$1"'
"""


def hashing(model: Model) -> tuple[float, dict[str, str]]:
    """Return the seconds that SHA-256 of all files takes on one core, reading included, and the digests in hex."""
    begin = time.perf_counter()
    digests = {}
    for name in model.files:
        with (model.directory / name).open("rb", buffering=0) as file:
            digests[name] = hashlib.file_digest(file, "sha256").hexdigest()
    return time.perf_counter() - begin, digests


def uploading(model: Model, digests: dict[str, str], repository_url: str) -> float:
    """Return the seconds in which curl uploads all files to a registry, two at a time."""
    variables = environment(CURL=program("curl"), UPLOADS=f"{repository_url}/blobs/uploads/")
    lines = "".join(f"{name} {digest}\n" for name, digest in digests.items())
    begin = time.perf_counter()
    subprocess.run(
        ("bash", "-euc", _UPLOAD), input=lines.encode(), cwd=model.directory, env=variables, check=True, timeout=600
    )
    return time.perf_counter() - begin
