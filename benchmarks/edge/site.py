"""A site at the end of a line: what is far away, what is pulled over the line, and ways to supply its devices."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from benchmarks.models import Model
from tests.lab.images import push_field_image, push_image
from tests.lab.line import Line
from tests.lab.proxy import Proxy
from tests.lab.registry import Registry

REPOSITORY: Final = "site/model"
MEGABITS: Final = 20
"""Of the line for which times are told."""

Tag = Callable[[int], str]
"""What a device pulls for the window that begins at a split."""


@dataclass(frozen=True, slots=True)
class Supply:
    """One way to supply the site: from where devices pull, and what."""

    name: str
    url: str
    tag: Tag


@dataclass(frozen=True, slots=True)
class Far:
    """What is at the far end of the line: a registry, and a plain 2DFS proxy before it."""

    directory: Path
    line: Line
    registry: Registry
    proxy: Proxy
    splits: int
    window: int
    """Neighbouring splits that a device has."""
    size: int
    """Bytes of all splits."""

    @classmethod
    def start(cls, stack: ExitStack, directory: Path, model: Model, *, window: int, scale: float = 1.0) -> Far:
        """Start the line, without a limit, and its far end, with all images of the model.

        Args:
            stack: that ends them.
            directory: for their files.
            model: whose splits are pushed.
            window: neighbouring splits that a device has.
            scale: how much of each split is pushed; 1: all of it.
        """
        contents = [(model.directory / name).read_bytes() for name in model.files]
        files = [
            {f"model/{name}": content[: max(1, round(scale * len(content)))]}
            for name, content in zip(model.files, contents, strict=True)
        ]
        line = stack.enter_context(Line.start(directory))
        registry = stack.enter_context(Registry.start(made(directory / "far"), host=line.far, within=line.argv()))
        base = {"etc/model": model.name.encode()}
        cells = {(0, column): one for column, one in enumerate(files)}
        push_field_image(
            registry.url,
            REPOSITORY,
            "v1",
            cells=cells,
            base=base,
            allotment_compression="none",
            base_compression="none",
        )
        # As Docker builds them: all splits in one image, and an image for each window.
        push_image(registry.url, REPOSITORY, "full", base=[base, *files], base_compression="none")
        for first in range(len(files) - window + 1):
            merged = {name: content for one in files[first : first + window] for name, content in one.items()}
            push_image(registry.url, REPOSITORY, _built(first), base=[base, merged], base_compression="none")
        proxy = Proxy.start(made(directory / "proxy"), registry.url, host=line.far, within=line.argv())
        size = sum(len(content) for one in files for content in one.values())
        return cls(directory, line, registry, stack.enter_context(proxy), len(files), window, size)

    @property
    def windows(self) -> int:
        """The number of windows."""
        return self.splits - self.window + 1

    def built(self) -> Supply:
        """Images that were built for each window, over the line."""
        return Supply("window images", self.registry.url, _built)

    def cut(self) -> Supply:
        """Partitions of the far proxy, over the line."""
        return Supply("partitions", self.proxy.url, self.partition)

    def cached(self, stack: ExitStack, directory: Path) -> Supply:
        """Start an edge node at the site, with an empty disk below ``directory``; its partitions."""
        node = Proxy.start(directory, self.registry.url, "--edge", str(directory / "edge"))
        return Supply("partitions, edge node", stack.enter_context(node).url, self.partition)

    def partition(self, first: int) -> str:
        """Return the tag of the window that begins at a split."""
        return f"v1--0.{first}.0.{first + self.window - 1}"


def made(directory: Path) -> Path:
    """Make a directory, and return it."""
    directory.mkdir()
    return directory


def _built(first: int) -> str:
    return f"window-{first}"
