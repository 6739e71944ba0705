"""An edge directory, opened for a command: the one of a configuration, which may have a running node."""

from __future__ import annotations

import asyncio
import contextlib
import os
import pwd
import sqlite3
from argparse import Namespace
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from proxy import logs
from proxy.cache.images.finding import CachedImages
from proxy.cache.images.reference import CachedName
from proxy.cache.images.source import DiskSource
from proxy.cache.images.tags import TagAnswer, known_tags
from proxy.cache.inventory import CacheInventory, take_inventory, uses
from proxy.config import Config, ConfigError, EdgeConfig, LogConfig, environment_variable, load
from proxy.edge.disk.directory import EdgeError
from proxy.edge.disk.store import EdgeStore
from proxy.edge.offline.answers import Answers
from twodfs.errors import TwodfsError, UsageError
from twodfs.oci.digest import Digest

_NOWHERE: Final = "http://upstream.invalid"


class CacheError(TwodfsError):
    """A command cannot be done; the message says what to do."""


def node_config(arguments: Namespace) -> Config:
    """Return the node's configuration, as far as a command needs it: its upstream may be anything.

    Raises:
        UsageError: it cannot be read; the message has all that is wrong.
    """
    try:
        return load({"upstream": _NOWHERE, "edge.directory": arguments.edge}, os.environ, arguments.config)
    except ConfigError as error:
        raise UsageError("; ".join(str(error).splitlines())) from None


@dataclass(frozen=True, slots=True)
class CacheDirectory:
    """An open edge directory.

    Attributes:
        store: its parts.
        config: how much it may have.
        disk: its content, to be read.
        answers: the registry's last.
    """

    store: EdgeStore
    config: EdgeConfig
    disk: DiskSource
    answers: Answers

    async def tags(self) -> dict[CachedName, TagAnswer]:
        """Return every tag that is known."""
        return await known_tags(self.store, self.answers)

    async def roots(self) -> frozenset[Digest]:
        """Return the documents that tags and lists of referrers are known to mean, and those of pins."""
        pins = {pin.digest for pin in await self.store.pins.all()}
        answered = {row.answer.digest for row in await self.answers.all() if row.answer.digest}
        return frozenset(pins | answered | {answer.digest for answer in (await self.tags()).values()})

    async def images(self) -> CachedImages:
        """Return the images that are known."""
        return CachedImages(self.disk, await self.tags())

    async def inventory(self) -> CacheInventory:
        """Return all that is there."""
        pins = {CachedName.of(pin.place, pin.reference): pin for pin in await self.store.pins.all()}
        pinned = {name: TagAnswer(pin.digest, "") for name, pin in pins.items()}
        return await asyncio.to_thread(
            take_inventory,
            self.disk,
            {**pinned, **await self.tags()},
            used=await self.store.state.read(uses),
            pinned=await self.store.pins.pinned(),
            pinned_names=frozenset(pins),
        )


@contextlib.asynccontextmanager
async def opened(arguments: Namespace, *, may_be_new: bool = False) -> AsyncIterator[CacheDirectory]:
    """Open the directory that ``arguments`` name for the time of the context.

    Args:
        arguments: as ``proxy.cache.options`` declares them.
        may_be_new: whether it is made where it is missing.

    Raises:
        UsageError: they name none.
        CacheError: it is none, cannot be used, or fails meanwhile.
    """
    config = node_config(arguments).edge
    if config.directory is None:
        raise UsageError(
            "which directory? name it with --edge DIR, or as for the node with --config FILE or "
            f"{environment_variable('edge.directory')}"
        )
    if not may_be_new and not (config.directory / "oci-layout").is_file():
        raise CacheError(f"{config.directory} is no edge directory: name the one that the node was started with")
    _check_owner(config.directory)
    logs.configure(LogConfig(level="error"))
    with _explained(str(config.directory)):
        async with EdgeStore.open(config) as store:
            answers = await Answers.open(store.state, max_stale=config.max_stale)
            yield CacheDirectory(store, config, DiskSource(store.directory), answers)


def _check_owner(directory: Path) -> None:
    """Let root leave the directory of another user alone: the node could not read what root writes there.

    Raises:
        CacheError: it is another's.
    """
    try:
        owner = (directory / "state.sqlite").stat().st_uid
    except OSError:
        return
    if os.geteuid() == 0 and owner != 0:
        try:
            user = pwd.getpwuid(owner).pw_name
        except KeyError:
            user = f"#{owner}"
        raise CacheError(f"{directory} belongs to {user}, as whom the node runs: run this with 'sudo -u {user}'")


@contextlib.contextmanager
def _explained(directory: str) -> Iterator[None]:
    try:
        with _alone():
            yield
    except EdgeError as error:
        raise CacheError(str(error)) from None
    except sqlite3.Error as error:
        raise CacheError(f"the state of {directory} cannot be used: {error}") from None


@contextlib.contextmanager
def _alone() -> Iterator[None]:
    """Take an error out of the groups that owners of tasks have put around it."""
    try:
        yield
    except BaseExceptionGroup as group:
        error: BaseException = group
        while isinstance(error, BaseExceptionGroup) and len(error.exceptions) == 1:
            error = error.exceptions[0]
        raise error from None
