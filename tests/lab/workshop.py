"""A user's directory with a build file, and `twodfs` as a user runs it there."""

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.lab.registry import Registry
from tests.lab.registry_client import RegistryClient

FIELD_TYPE = "application/vnd.oci.image.layer.v1.2dfs.field"
SOURCE = Path(__file__).parents[2]


@dataclass(frozen=True, slots=True)
class Done:
    status: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


@dataclass(frozen=True, slots=True)
class Workshop:
    """A directory with a build file, and a store of its own."""

    directory: Path
    store: Path
    registry: Registry

    def twodfs(self, *arguments: str, store: Path | None = None, typed: str = "") -> Done:
        environment = {
            **os.environ,
            "TWODFS_STORE": str(store or self.store),
            "PYTHONPATH": str(SOURCE),
            "DOCKER_CONFIG": str(self.directory / "no-docker"),
            "COLUMNS": "100",
        }
        ended = subprocess.run(
            [sys.executable, "-W", "error", "-m", "twodfs", *arguments],
            cwd=self.directory,
            env=environment,
            input=typed,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        return Done(ended.returncode, ended.stdout, ended.stderr)

    def made(self, *arguments: str, store: Path | None = None) -> Done:
        done = self.twodfs(*arguments, store=store)
        assert done.status == 0, done.err
        return done

    def target(self, name: str, tag: str = "v1") -> str:
        return f"{self.registry.address}/{name}:{tag}"

    def document(self, repository: str, reference: str, url: str | None = None) -> dict[str, Any]:
        with RegistryClient(url or self.registry.url) as client:
            answer = client.get_manifest(repository, reference)
        assert answer.status == 200, answer.body
        content: dict[str, Any] = json.loads(answer.body)
        return content

    def blob(self, repository: str, digest: str) -> bytes:
        with RegistryClient(self.registry.url) as client:
            answer = client.request("GET", f"/v2/{repository}/blobs/{digest}")
        assert answer.status == 200, answer.body
        assert digest == f"sha256:{hashlib.sha256(answer.body).hexdigest()}"
        return answer.body

    def images(self, repository: str, tag: str = "v1", url: str | None = None) -> Iterator[dict[str, Any]]:
        """Yield the image manifests that an index holds, in the registry or seen through the proxy."""
        for entry in self.document(repository, tag, url)["manifests"]:
            if "artifactType" not in entry:
                yield self.document(repository, entry["digest"], url)

    def field(self, repository: str, manifest: dict[str, Any]) -> list[dict[str, Any]]:
        """Return the cells of a manifest's field, its last layer."""
        assert manifest["layers"][-1]["mediaType"] == FIELD_TYPE
        field = json.loads(self.blob(repository, manifest["layers"][-1]["digest"]))
        cells = [cell for row in field["rows"] for cell in row["allotments"]]
        assert field["rows_size"] == len(field["rows"])
        assert [row["allotments_size"] for row in field["rows"]] == [len(r["allotments"]) for r in field["rows"]]
        return cells


CONTENT = {
    (0, 0): {"models/a.bin": os.urandom(100_000)},
    (0, 2): {
        "models/b.bin": b"",
        "models/tokenizer/merges.txt": b"m e",
        "models/tokenizer/vocab.json": b"{}",
    },
    (2, 1): {"cells/c.bin": b"c" * 100_000},
}


def write_model(directory: Path) -> None:
    """Write a build file into a new directory, and the files that it names."""
    (directory / "tokenizer").mkdir(parents=True)
    (directory / "a.bin").write_bytes(CONTENT[0, 0]["models/a.bin"])
    (directory / "b.bin").touch()
    (directory / "tokenizer" / "merges.txt").write_bytes(b"m e")
    (directory / "tokenizer" / "vocab.json").write_bytes(b"{}")
    (directory / "c.bin").write_bytes(b"c" * 100_000)
    allotments = [
        {"src": "./a.bin", "dst": "/models/a.bin", "row": 0, "col": 0},
        {
            "src": ["./b.bin", "tokenizer"],
            "dst": ["/models/b.bin", "/models/tokenizer"],
            "row": 0,
            "col": 2,
        },
        {"src": ["c.bin"], "dst": ["cells/c.bin"], "row": 2, "col": 1},
    ]
    (directory / "2dfs.json").write_text(json.dumps({"allotments": allotments}))
