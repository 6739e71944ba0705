"""A build that is killed at any moment: the next run finishes, and does no committed work again."""

import json
import os
import random
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

from tests.lab.registry import Registry
from tests.lab.registry_client import RegistryClient

SOURCE = Path(__file__).parents[2]
SPLITS = 12
ROUNDS = 10
BUILT = re.compile(r"^allotment 0/(\d+)", re.MULTILINE)
PUSHED = re.compile(r"^push sha256:([0-9a-f]{12})", re.MULTILINE)


class Builder:
    """`twodfs build --push` into a store of its own."""

    def __init__(self, directory: Path, store: str, target: str) -> None:
        self.store = directory / store
        self._directory = directory
        self._argv = [sys.executable, "-m", "twodfs", "build", "scratch", target, "--push", "--jobs", "2"]
        self._environment = {**os.environ, "TWODFS_STORE": str(self.store), "PYTHONPATH": str(SOURCE)}

    def run(self, patience: float | None = None) -> tuple[int, str, str]:
        """Return status, output and errors; of a run that is killed after so many seconds."""
        with subprocess.Popen(
            self._argv,
            cwd=self._directory,
            env=self._environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        ) as process:
            try:
                out, err = process.communicate(timeout=patience or 120)
            except subprocess.TimeoutExpired:
                process.send_signal(signal.SIGKILL)
                out, err = process.communicate()
        return process.returncode, out, err

    def blobs(self) -> set[str]:
        """Return what is in the store."""
        return {path.name for path in self.store.glob("blobs/sha256/*")}


def uploaded(registry: Registry, repository: str, digests: set[str]) -> set[str]:
    with RegistryClient(registry.url) as client:
        return {
            digest
            for digest in digests
            if client.request("HEAD", f"/v2/{repository}/blobs/sha256:{digest}").status == 200
        }


def test_a_killed_build_is_taken_up_where_it_was(tmp_path: Path, registry: Registry) -> None:
    chance = random.Random()
    allotments = []
    for at in range(SPLITS):
        (tmp_path / f"{at}.bin").write_bytes(chance.randbytes(4_000_000 + at))
        allotments.append({"src": f"{at}.bin", "dst": f"/m/{at}.bin", "row": 0, "col": at})
    (tmp_path / "2dfs.json").write_text(json.dumps({"allotments": allotments}))
    reference = Builder(tmp_path, "reference", f"{registry.address}/killed/reference:v1")
    began = time.monotonic()
    status, whole, err = reference.run()
    longest = time.monotonic() - began
    assert status == 0, err
    digest = whole.strip().partition("@")[2]
    columns = digests_by_column(reference)

    builder = Builder(tmp_path, "store", f"{registry.address}/killed/model:v1")
    for patience in [*(chance.uniform(0.1, longest) for _ in range(ROUNDS)), None]:
        before = builder.blobs()
        known = uploaded(registry, "killed/model", set(columns.values()))
        status, out, err = builder.run(patience)
        again = {int(column) for column in BUILT.findall(err)}
        assert not {columns[column] for column in again} & before
        assert not {name[:12] for name in known} & set(PUSHED.findall(err))
        assert status in (0, -signal.SIGKILL), err
    assert out.strip().partition("@")[2] == digest
    assert builder.blobs() == reference.blobs()
    for name in builder.blobs():
        content = (builder.store / "blobs" / "sha256" / name).read_bytes()
        assert content == (reference.store / "blobs" / "sha256" / name).read_bytes()
    assert uploaded(registry, "killed/model", set(columns.values())) == set(columns.values())
    assert not list((builder.store / "tmp").iterdir())


def digests_by_column(builder: Builder) -> dict[int, str]:
    for name in builder.blobs():
        content = (builder.store / "blobs" / "sha256" / name).read_bytes()
        if content.startswith(b'{"rows"'):
            return {cell["col"]: cell["digest"] for cell in json.loads(content)["rows"][0]["allotments"]}
    raise AssertionError("no field in the store")
