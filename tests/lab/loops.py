"""Fails a test during which an event loop of the proxy stood still, in this process or in one it started.

A test that means it says why: `@pytest.mark.loop_may_stand(reason="...")`.
"""

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.lab.injected import loop_watchdog
from tests.lab.injected.loop_watchdog import Reports, Stall, Watchdog

_INJECTED = Path(loop_watchdog.__file__).parent
_MARK = "loop_may_stand"
# They call coroutines of the proxy in loops in which nobody else waits.
_WITHOUT_A_PROXY = tuple(Path(__file__).parents[1] / name for name in ("unit", "property"))


class LoopStoodError(AssertionError):
    """A loop of the proxy stood still and the test does not say why it may."""

    def __init__(self, stalls: list[Stall]) -> None:
        super().__init__("\n".join(map(str, stalls)))


class _Watch:
    """All loops of a test run."""

    def __init__(self) -> None:
        self.directory = Path(tempfile.mkdtemp(prefix="lab-loops-"))
        self._reports = Reports(self.directory)
        self._here: list[Stall] = []
        self._watchdog = Watchdog(self._here.append, collects=False)  # the heap is pytest's, and large
        self._watchdog.start()

    def stop(self) -> None:
        self._watchdog.stop()
        shutil.rmtree(self.directory)

    def stalls(self) -> list[Stall]:
        """Return what was noticed since the last time."""
        here = [stall for stall in self._here if stall.is_ours()]
        self._here.clear()
        return [*here, *self._reports.read()]


_watches: list[_Watch] = []


def environment(*modules: str) -> dict[str, str]:
    """Return what lets these `modules`, run as commands, be watched; nothing outside of a test run."""
    if not _watches:
        return {}
    return {
        "TWODFS_LAB_LOOP_REPORTS": str(_watches[-1].directory),
        "TWODFS_LAB_LOOP_MODULES": " ".join(modules),
        "PYTHONPATH": os.pathsep.join(filter(None, (str(_INJECTED), os.environ.get("PYTHONPATH")))),
    }


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", f"{_MARK}(reason): the proxy's event loop may stand still in this test")
    _watches.append(_Watch())


def pytest_unconfigure() -> None:
    _watches.pop().stop()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Iterator[None]:
    yield
    _judge(item)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_teardown(item: pytest.Item) -> Iterator[None]:
    yield
    _judge(item)


def _judge(item: pytest.Item) -> None:
    stalls = _watches[-1].stalls()
    if any(item.path.is_relative_to(place) for place in _WITHOUT_A_PROXY):
        return
    mark = item.get_closest_marker(_MARK)
    if mark is not None and not mark.kwargs["reason"]:
        raise ValueError(f"{item.nodeid}: {_MARK} needs a reason")
    if stalls and mark is None:
        raise LoopStoodError(stalls)
