"""How the tests are shared out where several processes run them, as in `make test`: `-n 3 --dist loadgroup`.

The tests of a file stay together, so that what they share is set up once; those that need a container engine
stay together whatever their file, so that each engine is started once. What takes longest comes first.

`@pytest.mark.alone(reason="...")` is for a test that measures: it runs while no other process runs one.
"""

import fcntl
import signal
import tempfile
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:  # who runs one test by hand needs no pytest-xdist
    from xdist.remote import Producer
    from xdist.scheduler import LoadScopeScheduling
    from xdist.workermanage import WorkerController

_ENGINES = {"docker_engine", "containerd_engine", "podman_engine", "skopeo_engine"}
_ORDER = ("tests/integration/", "tests/deploy/", "tests/lab/", "tests/property/")
_TURNS = "lab_turns"
_turns_file = pytest.StashKey[Path]()


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "alone(reason): no other process runs a test during this one")
    # Where who started us has it ignored (nohup, a script's background), so would all that tests start in
    # order to interrupt it, and nothing could interrupt the tests themselves.
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_unconfigure(config: pytest.Config) -> None:
    if _turns_file in config.stash:
        config.stash[_turns_file].unlink()


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: "WorkerController") -> None:
    """Tell a process that will run tests which file stands for the right to run one."""
    stash = node.config.stash
    if _turns_file not in stash:
        with tempfile.NamedTemporaryFile(prefix="lab-turns-", delete=False) as file:
            stash[_turns_file] = Path(file.name)
    node.workerinput[_TURNS] = str(stash[_turns_file])


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: "Producer") -> "LoadScopeScheduling | None":
    if config.getvalue("dist") != "loadgroup":
        return None
    from xdist.scheduler import LoadScopeScheduling  # noqa: PLC0415 - see above

    class Scheduling(LoadScopeScheduling):  # type: ignore[misc] # it comes without types
        def _split_scope(self, nodeid: str) -> str:
            path, _, name = nodeid.partition("::")
            return name.rpartition("@")[2] if name.rfind("@") > name.rfind("]") else path

    return Scheduling(config, log)


@pytest.hookimpl(tryfirst=True)  # before pytest-xdist writes the groups into the tests' names
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if not hasattr(config, "workerinput"):
        return
    for item in items:
        if isinstance(item, pytest.Function) and _needs_an_engine(item):
            item.add_marker(pytest.mark.xdist_group("engines"))
    items.sort(key=_place)


def _needs_an_engine(test: pytest.Function) -> bool:
    parameters = test.callspec.params.values() if hasattr(test, "callspec") else ()
    named = {*test.fixturenames, *(one for one in parameters if isinstance(one, str))}
    return not named.isdisjoint(_ENGINES)


def _place(item: pytest.Item) -> int:
    if item.get_closest_marker("xdist_group") is not None:
        return -1
    return next((at for at, start in enumerate(_ORDER) if item.nodeid.startswith(start)), len(_ORDER))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, Any, Any]:
    shared: dict[str, str] = getattr(item.config, "workerinput", {})
    if _TURNS not in shared:
        return (yield)
    with _turn(Path(shared[_TURNS]), is_alone=item.get_closest_marker("alone") is not None):
        return (yield)


@contextmanager
def _turn(file: Path, *, is_alone: bool) -> Iterator[None]:
    """Hold the right to run a test, or the right to be the only one that does.

    Two locks on ranges of the file: all pass by the first, so that who wants to be alone waits only for the
    tests that run already.
    """
    with file.open("r+b") as lock:
        fcntl.lockf(lock, fcntl.LOCK_EX, 1, 0)
        fcntl.lockf(lock, fcntl.LOCK_EX if is_alone else fcntl.LOCK_SH, 1, 1)
        if not is_alone:
            fcntl.lockf(lock, fcntl.LOCK_UN, 1, 0)
        yield  # the locks end with the file
