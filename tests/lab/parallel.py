"""How the tests are shared out where several processes run them, as in `make test`: `-n 3 --dist loadfile`.

The tests of a file stay together, so that what they share is set up once; those that need a container engine
stay together whatever their file, so that each engine is started once. What takes longest comes first.

`@pytest.mark.alone(reason="...")` is for a test that measures: it runs while no other process runs one.
"""

import fcntl
import json
import shutil
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
_LONGEST = (
    *("test_todays_engines.py", "test_downloads.py", "test_redis_faults.py", "test_build_push.py"),
    *("test_evaluation.py", "test_mirror_clients.py"),
)
_ORDER = (
    *(f"tests/integration/{name}" for name in _LONGEST),
    *("tests/integration/", "tests/deploy/", "tests/lab/", "tests/property/"),
)
_SHARED = "lab_shared"
_shared_directory = pytest.StashKey[Path]()


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "alone(reason): no other process runs a test during this one")
    # Where who started us has it ignored (nohup, a script's background), so would all that tests start in
    # order to interrupt it, and nothing could interrupt the tests themselves.
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_unconfigure(config: pytest.Config) -> None:
    if _shared_directory in config.stash:
        shutil.rmtree(config.stash[_shared_directory])


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: "WorkerController") -> None:
    """Tell a process that will run tests where all of them meet."""
    stash = node.config.stash
    if _shared_directory not in stash:
        stash[_shared_directory] = Path(tempfile.mkdtemp(prefix="lab-parallel-"))
        (stash[_shared_directory] / "turns").touch()
    node.workerinput[_SHARED] = str(stash[_shared_directory])


def _shared(config: pytest.Config) -> Path | None:
    """Return the directory of all processes, in one that runs tests beside others."""
    told: dict[str, str] = getattr(config, "workerinput", {})
    return Path(told[_SHARED]) if _SHARED in told else None


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: "Producer") -> "LoadScopeScheduling | None":
    if config.getvalue("dist") != "loadfile":
        return None
    from xdist.scheduler import LoadScopeScheduling  # noqa: PLC0415 - see above

    class Scheduling(LoadScopeScheduling):  # type: ignore[misc] # it comes without types
        """Hands out what is together; the processes wrote down which tests leave those of their file."""

        def schedule(self) -> None:
            written = next(config.stash[_shared_directory].glob("engines-*.json"))
            self._engines = set(json.loads(written.read_text()))
            super().schedule()

        def _split_scope(self, nodeid: str) -> str:
            return "engines" if nodeid in self._engines else nodeid.partition("::")[0]

    return Scheduling(config, log)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    shared = _shared(config)
    if shared is None:
        return
    engines = [item.nodeid for item in items if _needs_an_engine(item)]
    own: dict[str, str] = config.workerinput  # type: ignore[attr-defined]
    (shared / f"engines-{own['workerid']}.json").write_text(json.dumps(engines))
    items.sort(key=_place)


def _needs_an_engine(item: pytest.Item) -> bool:
    if not isinstance(item, pytest.Function):
        return False
    parameters = item.callspec.params.values() if hasattr(item, "callspec") else ()
    named = {*item.fixturenames, *(one for one in parameters if isinstance(one, str))}
    return not named.isdisjoint(_ENGINES)


def _place(item: pytest.Item) -> int:
    if _needs_an_engine(item):
        return -1
    return next((at for at, start in enumerate(_ORDER) if item.nodeid.startswith(start)), len(_ORDER))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, Any, Any]:
    shared = _shared(item.config)
    if shared is None:
        return (yield)
    with _turn(shared / "turns", is_alone=item.get_closest_marker("alone") is not None):
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
