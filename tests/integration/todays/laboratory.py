"""A registry without the referrers API, a proxy that signs before it, an image, and today's programs."""

import json
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.integration.todays.engines import Engines
from tests.lab.command import CommandError
from tests.lab.documents import Cell
from tests.lab.images import PushedImage, busybox_base, push_image
from tests.lab.proxy import Proxy
from tests.lab.registry import Registry
from tests.lab.registry_client import RegistryClient
from tests.lab.signing import KeyPair
from tests.lab.todays_root import TodaysRoot
from tests.lab.workshop import Workshop
from twodfs.oci.digest import digest_of

PLATFORM: Final = "linux/amd64"
OTHER_PLATFORM: Final = "linux/arm64"
MODEL: Final = "todays/model"
CELLS: Final = {
    (row, column): (f"models/{row}-{column}.bin", f"weights of {row}/{column} ".encode() * 1000)
    for row in range(3)
    for column in range(3)
}
MANIFESTS: Final = "application/vnd.oci.image.index.v1+json, application/vnd.oci.image.manifest.v1+json"


@dataclass(frozen=True, slots=True)
class Laboratory:
    """All that a check needs."""

    root: TodaysRoot
    engines: Engines
    registry: Registry
    proxy: Proxy
    proxy_key: KeyPair
    base: PushedImage

    def run(self, *argv: str, **variables: str) -> str:
        """Run one of today's programs; returns its standard output, raises CommandError."""
        return self.root.run(*argv, **variables)

    def refusal(self, *argv: str) -> str:
        """Run a program that must fail; returns what it said."""
        try:
            self.run(*argv)
        except CommandError as error:
            return error.output
        raise AssertionError(f"{' '.join(argv)} ended well")

    def reference(self, tag: str, repository: str = MODEL) -> str:
        """Return what a client asks the proxy for."""
        return f"{self.proxy.address}/{repository}:{tag}"

    def pinned(self, tag: str, repository: str = MODEL) -> str:
        """Return a reference by digest to what the tag names now."""
        return f"{self.proxy.address}/{repository}@{digest_of(self.manifest(tag, repository))}"

    def manifest(self, tag: str, repository: str = MODEL, *, url: str | None = None) -> bytes:
        """Return a manifest or index as plain HTTP brings it; through the proxy, or from another URL."""
        with RegistryClient(url or self.proxy.url) as client:
            target = f"/v2/{repository}/manifests/{tag}"
            answer = client.request("GET", target, headers={"Accept": MANIFESTS})
        assert answer.status == 200, answer.body
        return answer.body

    def files(self, cells: Iterable[Cell], platform: str | None = None) -> dict[str, bytes]:
        """Return the files of the model's partition with these cells."""
        return self.base.files(platform=platform or PLATFORM) | dict(CELLS[cell] for cell in cells)

    def copied(self, repository: str) -> str:
        """Copy the model to a repository of its own, past the proxy; returns its name."""
        name = f"todays/{repository}"
        address = self.registry.address
        self.run("crane", "copy", f"{address}/{MODEL}:v1", f"{address}/{name}:v1")
        return name

    def directory(self, name: str) -> Path:
        """Make a new directory, `/lab/NAME` to programs."""
        made = self.root.directory / name
        made.mkdir()
        return made


@contextmanager
def opened(directory: Path, registry: Registry) -> Iterator[Laboratory]:
    """Yield the laboratory, with its files below the directory."""
    with ExitStack() as stack:
        (directory / "root").mkdir()
        root = stack.enter_context(TodaysRoot.enter(directory / "root"))
        keys = KeyPair.generate(directory, "proxy")
        config = f'[signing]\nkey = "{keys.private}"\n'
        proxy = stack.enter_context(Proxy.start(directory, registry.url, config=config))
        base = _build(directory, registry)
        yield Laboratory(root, Engines(root), registry, proxy, keys, base)


def _build(directory: Path, registry: Registry) -> PushedImage:
    """Build and push the model as users do."""
    platforms = (PLATFORM, OTHER_PLATFORM)
    base = push_image(
        registry.url,
        "todays/base",
        "v1",
        base=busybox_base(),
        platforms=platforms,
        platform_files={platform: {"platform": platform.encode()} for platform in platforms},
    )
    workshop = Workshop(directory / "model", directory / "store", registry)
    workshop.directory.mkdir()
    allotments = []
    for (row, column), (path, content) in CELLS.items():
        (workshop.directory / f"{row}-{column}.bin").write_bytes(content)
        allotments.append({"src": f"{row}-{column}.bin", "dst": f"/{path}", "row": row, "col": column})
    recipe = {"partitions": {"edge": "0.0.1.0"}, "allotments": allotments}
    (workshop.directory / "2dfs.json").write_text(json.dumps(recipe))
    workshop.made("build", workshop.target("todays/base"), workshop.target(MODEL), "--push")
    return base
