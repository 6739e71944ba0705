"""Settings of the machine and the interpreter that a serving process makes before it begins."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import resource
import sys


def prepare() -> None:
    """Make ready for thousands of connections at once."""
    _raise_file_limit()
    spare_the_collector()
    _watch_children_on_the_loop()


def _raise_file_limit() -> None:
    """Use every file descriptor that the system allows: a transfer takes up to six, 1,024 are usual."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        with contextlib.suppress(ValueError, OSError):  # macOS names a limit that it does not grant
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def spare_the_collector() -> None:
    """Look for cycles seldom: requests leave few, and with thousands under way each look costs.

    Measured with 2,000 pulls at the same moment: a third to a half of all processor time. What waits to be
    collected is some ten megabytes at most: 50,000 objects of 200 bytes. That holds as long as no circle has
    a document in it: an error must not refer to the document, and the document to the error.
    """
    gc.freeze()  # imported modules stay
    gc.set_threshold(50_000, 20, 20)


def _watch_children_on_the_loop() -> None:
    """Let the kernel tell of processes that end, as Python does by itself from 3.12 on.

    Otherwise each has a thread that waits for it, and the loop stands until that thread has begun: a fifth of a second
    on a busy machine.
    """
    if sys.version_info < (3, 12) and hasattr(os, "pidfd_open"):
        asyncio.set_child_watcher(asyncio.PidfdChildWatcher())
