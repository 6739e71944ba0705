"""What the demo plays with: the peers, the image that is pushed to them, and what they sent."""

from __future__ import annotations

import json
import platform
import random
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.lab.command import CommandError
from tests.lab.images import busybox_base, push_image
from tests.lab.programs import MissingProgramError, environment
from tests.lab.proxy import Proxy
from tests.lab.redis import Redis
from tests.lab.registry import Registry
from tests.lab.registry_client import RegistryClient

Cell = tuple[int, int]
"""(row, column)."""

ROWS: Final = 3
COLUMNS: Final = 3
REPOSITORY: Final = "library/model"
TAG: Final = "v1"
_ARCHITECTURES: Final = {"x86_64": "amd64", "aarch64": "arm64"}
PLATFORM: Final = f"linux/{_ARCHITECTURES.get(platform.machine(), platform.machine())}"
"""The one that the engines of this machine pull."""

_SEED: Final = 2
# Sign and exponent of float32 numbers about as big as weights are: 0.008 to 0.5.
_EXPONENTS: Final = bytes(b"\x3c\x3d\x3e\xbc\xbd\xbe"[byte % 6] for byte in range(256))
_SENT: Final = re.compile(r'"GET /v2/\S+/blobs/(sha256:[0-9a-f]{64}) HTTP/[\d.]+" 20[06] (\d+) ')
# The registry writes a line once an answer is over, which may be a moment after the engine has it.
_LOG_SETTLES_SECONDS: Final = 0.2


@dataclass(frozen=True, slots=True)
class Image:
    """The image that was pushed, and what it was made from."""

    base: Mapping[str, bytes]
    weights: Mapping[Cell, bytes]
    allotments: Mapping[Cell, str]
    """Digest of each cell's layer."""
    sizes: Mapping[str, int]
    """Bytes of every layer by its digest, as the registry tells them."""

    @property
    def total(self) -> int:
        """Bytes of all layers."""
        return sum(self.sizes.values())

    def files(self, cells: Iterable[Cell]) -> dict[str, bytes]:
        """Return what a partition of these cells has to hold: content by path."""
        return {**self.base, **{path(cell): self.weights[cell] for cell in cells}}

    def layers(self, cells: Iterable[Cell]) -> set[str]:
        """Return the digests of the layers of a partition of these cells."""
        base = set(self.sizes) - set(self.allotments.values())
        return base | {self.allotments[cell] for cell in cells}


@dataclass(frozen=True, slots=True)
class Stage:
    """Everything that runs."""

    directory: Path
    registry: Registry
    redis: Redis
    proxy: Proxy

    @classmethod
    def start(cls, cleanup: ExitStack) -> Stage:
        """Start the peers, each on a free port with its files in a temporary directory."""
        directory = Path(cleanup.enter_context(tempfile.TemporaryDirectory(prefix="twodfs-demo-")))
        registry = cleanup.enter_context(Registry.start(folder(directory, "registry")))
        redis = cleanup.enter_context(Redis.start(folder(directory, "redis")))
        caching = {"TWODFS_PROXY_CACHE_REDIS_URL": redis.url}
        proxy = Proxy.start(folder(directory, "proxy"), registry.url, environment=caching)
        cleanup.enter_context(proxy)
        return cls(directory, registry, redis, proxy)

    @property
    def reference(self) -> str:
        """What the image is called, through the proxy."""
        return f"{self.proxy.address}/{REPOSITORY}:{TAG}"

    def push_base(self) -> tuple[dict[str, bytes], tuple[str, ...]]:
        """Push an image that has a shell, scratch where there is none to be had.

        Returns:
            Its files, and how ``twodfs build`` is told of it.
        """
        try:
            files = busybox_base()
        except MissingProgramError:
            return {}, ("--platform", PLATFORM, "scratch")
        pushed = push_image(self.proxy.url, "library/base", TAG, base=files, platforms=(PLATFORM,))
        return files, (pushed.reference(),)

    def twodfs(self, *arguments: str) -> tuple[str, str]:
        """Run the ``twodfs`` command; return its result and its progress.

        Raises:
            CommandError: it failed.
        """
        argv = (sys.executable, "-m", "twodfs", *arguments)
        # Neither the user's store nor their credentials.
        own = environment(TWODFS_STORE=str(self.directory / "store"), DOCKER_CONFIG=str(self.directory))
        ended = subprocess.run(argv, cwd=self.directory, env=own, capture_output=True, text=True, check=False)
        if ended.returncode:
            raise CommandError(("twodfs", *arguments), f"exit status {ended.returncode}", ended.stderr)
        return ended.stdout, ended.stderr

    def layers(self) -> tuple[dict[Cell, str], dict[str, int]]:
        """Return the digest of each cell's layer, and the size of every layer of the image, base included."""
        described = json.loads(self.twodfs("inspect", "--json", self.reference)[0])
        (field,) = described["fields"].values()
        allotments = {(one["row"], one["col"]): str(one["digest"]) for one in field["allotments"]}
        with RegistryClient(self.registry.url) as client:
            manifest = json.loads(client.get_manifest(REPOSITORY, described["images"][0]["digest"]).body)
            plain = [one["digest"] for one in manifest["layers"] if one["digest"] not in described["fields"]]
            sizes = {digest: _blob_size(client, digest) for digest in (*plain, *allotments.values())}
        return allotments, sizes

    def log_end(self) -> int:
        """Return where the registry's access log ends, once nothing more comes."""
        seen, size = -1, 0
        while seen != size:
            seen = size
            time.sleep(_LOG_SETTLES_SECONDS)
            size = self.registry.log.stat().st_size
        return size

    def sent(self, since: int, until: int) -> dict[str, int]:
        """Return the bytes of each blob that the registry sent, by what its access log says there."""
        lines = self.registry.log.read_bytes()[since:until].decode(errors="replace")
        sent: dict[str, int] = {}
        for digest, size in _SENT.findall(lines):
            sent[digest] = sent.get(digest, 0) + int(size)
        return sent


def make_weights(directory: Path, cell_bytes: int) -> dict[Cell, bytes]:
    """Write a file for each cell and the ``2dfs.json`` that names them; return the same bytes every time."""
    numbers = random.Random(_SEED)  # noqa: S311 - weights, not secrets
    weights: dict[Cell, bytes] = {}
    entries = []
    for row, column in ((row, column) for row in range(ROWS) for column in range(COLUMNS)):
        content = bytearray(numbers.randbytes(cell_bytes))
        content[3::4] = content[3::4].translate(_EXPONENTS)
        weights[row, column] = bytes(content)
        source = directory / path((row, column))
        source.parent.mkdir(exist_ok=True)
        source.write_bytes(content)
        target = path((row, column))
        entries.append({"src": f"./{target}", "dst": f"/{target}", "row": row, "col": column})
    (directory / "2dfs.json").write_text(json.dumps({"allotments": entries}))
    return weights


def path(cell: Cell) -> str:
    """Return where a cell's weights are, in the image and in the build's directory."""
    return f"models/{cell[0]}-{cell[1]}.bin"


def folder(directory: Path, name: str) -> Path:
    """Return a new folder."""
    made = directory / name
    made.mkdir()
    return made


def _blob_size(client: RegistryClient, digest: str) -> int:
    answer = client.request("HEAD", f"/v2/{REPOSITORY}/blobs/{digest}")
    return int(answer.headers["content-length"])
