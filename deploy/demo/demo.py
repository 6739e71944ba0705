"""Show what the proxy does, with real parts: `make demo`, or `make demo ENGINE=podman`.

A stock registry, Redis and the proxy start on free ports of loopback. The `twodfs` command builds a 3x3 field
of random weights and pushes it; a container engine pulls two partitions. What the engine unpacked is compared
with the source files, byte for byte, and what was transferred is read from the registry's own access log.

The exit status is 0 only if everything that was claimed holds. Whatever happens, what was started is stopped.
"""

from __future__ import annotations

import argparse
import shlex
import signal
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Final

from rich.console import Console
from rich.table import Table
from stage import COLUMNS, PLATFORM, REPOSITORY, ROWS, TAG, Image, Stage, folder, make_weights

from tests.lab.command import CommandError
from tests.lab.engines import DockerEngine, Engine, Podman, PullFailed, Skopeo
from tests.lab.images import push_image
from tests.lab.process import StartError
from tests.lab.programs import MissingProgramError
from twodfs.sizes import size_text

ENGINES: Final[Mapping[str, Callable[[Path], Engine]]] = {
    "docker": DockerEngine.start,
    "podman": Podman.start,
    "skopeo": Skopeo.start,
}

Rectangle = tuple[int, int, int, int]
"""First row, first column, last row, last column, inclusive."""

# The second contains the first: an engine that keeps layers fetches only what is new.
PARTITIONS: Final = ((0, 0, 0, 1), (0, 0, 1, 2))
OUTSIDE: Final = (7, 7, 8, 8)
INTERRUPTED: Final = 130

_PULLS: Final = {
    "docker": "docker pull ",
    "podman": "podman pull --tls-verify=false ",
    "skopeo": "skopeo copy --src-tls-verify=false docker://",
}
_EXPECTED = (CommandError, MissingProgramError, PullFailed, StartError, OSError)
_console = Console(highlight=False, soft_wrap=True)


class UnprovenError(Exception):
    """Something that the demo claims does not hold."""


@dataclass(frozen=True, slots=True)
class Pull:
    """What one pull took, in bytes of layers."""

    tag: str
    files: int
    size: int
    sent: int


def main() -> int:
    """Run the demo and return its exit status."""
    parser = argparse.ArgumentParser(description="Show what the proxy does, with real parts.")
    parser.add_argument("--engine", choices=("auto", *ENGINES), default="auto")
    parser.add_argument("--cell-bytes", type=int, default=4_000_000, metavar="N", help="of a cell's weights")
    arguments = parser.parse_args()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _interrupt)
    started = time.monotonic()
    try:
        with ExitStack() as cleanup:
            show(arguments.engine, arguments.cell_bytes, cleanup)
            _say("\nStopping what was started.")
    except KeyboardInterrupt:
        _say("\nInterrupted; what was started has been stopped.", "yellow")
        return INTERRUPTED
    except (UnprovenError, *_EXPECTED) as error:
        _say(f"\nThe demo failed: {error}", "red")
        return 1
    _say(f"Everything shown was checked, and holds. {time.monotonic() - started:.0f} seconds.", "green")
    return 0


def show(engine_name: str, cell_bytes: int, cleanup: ExitStack) -> None:
    """Play the whole demo; what has to be undone goes to ``cleanup``.

    Raises:
        UnprovenError: a claim does not hold.
    """
    _step("A stock registry, Redis, and the proxy in front of them")
    stage = start(cleanup)
    engine = start_engine(engine_name, stage, cleanup)
    _step(f"A field of {ROWS} x {COLUMNS} files of weights, each {size_text(cell_bytes)}")
    image = push(stage, cell_bytes)
    held: set[str] = set()
    pulls = [pull(stage, engine, image, rectangle, held=held) for rectangle in PARTITIONS]
    _step("Without the proxy, and outside the field")
    show_refusals(stage, engine)
    _step("Bytes of layers that the registry sent, by its own access log")
    _console.print(summary(image, pulls))


def start(cleanup: ExitStack) -> Stage:
    """Start registry, Redis and proxy, and say where."""
    stage = Stage.start(cleanup)
    _say(f"docker-registry  {stage.registry.address}")
    _say(f"redis-server     127.0.0.1:{stage.redis.port}")
    _say(f"twodfs-proxy     {stage.proxy.address}")
    return stage


def start_engine(wanted: str, stage: Stage, cleanup: ExitStack) -> Engine:
    """Return the engine that is wanted; for "auto", the first that can pull on this machine.

    Raises:
        UnprovenError: there is none.
    """
    probe = push_image(stage.registry.url, "demo/probe", "v1", platforms=(PLATFORM,)).reference()
    for name in ENGINES if wanted == "auto" else (wanted,):
        try:
            with ExitStack() as undo:
                engine = ENGINES[name](folder(stage.directory, name))
                undo.callback(engine.close)
                engine.pull(probe)
                engine.remove(probe)
                cleanup.push(undo.pop_all())
        except _EXPECTED as error:
            _say(f"{name} cannot be used here: {_last_line(str(error))}", "yellow")
        else:
            _say(f"{name:16} with storage of its own")
            return engine
    raise UnprovenError("no container engine can pull on this machine")


def push(stage: Stage, cell_bytes: int) -> Image:
    """Build an image with the ``twodfs`` command and push it, all through the proxy."""
    weights = make_weights(stage.directory, cell_bytes)
    base, base_arguments = stage.push_base()
    twodfs(stage, "build", "-f", "2dfs.json", *base_arguments, stage.reference)
    twodfs(stage, "push", stage.reference)
    twodfs(stage, "inspect", stage.reference)
    allotments, sizes = stage.layers()
    return Image(base, weights, allotments, sizes)


def twodfs(stage: Stage, *arguments: str) -> None:
    """Run the ``twodfs`` command; show its result, and of its progress the last line."""
    _command("twodfs", *arguments)
    result, progress = stage.twodfs(*arguments)
    for line in (*progress.splitlines()[-1:], *result.splitlines()):
        _say(f"  {line}", "dim")


def pull(stage: Stage, engine: Engine, image: Image, rectangle: Rectangle, *, held: set[str]) -> Pull:
    """Pull one partition, check its files and its traffic, and add its layers to those ``held``.

    Raises:
        UnprovenError: the files are not their sources, or other layers were sent than those selected.
    """
    x1, y1, x2, y2 = rectangle
    cells = [(row, column) for row, column in image.weights if x1 <= row <= x2 and y1 <= column <= y2]
    tag = tag_of(rectangle)
    _step(f"Rows {x1}..{x2}, columns {y1}..{y2}: {len(cells)} of the {len(image.weights)} files")
    reference = f"{stage.proxy.address}/{REPOSITORY}:{tag}"
    before = stage.log_end()
    _pull(engine, reference)
    blobs = stage.sent(before, stage.log_end())
    sent = {digest: size for digest, size in blobs.items() if digest in image.sizes}
    check_files(engine.files(reference), image.files(cells))
    layers = image.layers(cells)
    _expect(set(sent) <= layers, f"{tag}: the registry sent layers that are not selected")
    _expect(set(sent) | held >= layers, f"{tag}: the registry did not send all that is selected")
    if image.base:
        run(engine, reference)
    held |= layers
    return Pull(tag, len(cells), sum(image.sizes[digest] for digest in layers), sum(sent.values()))


def check_files(found: Mapping[str, bytes], expected: Mapping[str, bytes]) -> None:
    """Show what was pulled, compared with its sources.

    Raises:
        UnprovenError: a file is missing, one too many, or different.
    """
    for name, content in sorted(found.items()):
        verdict = "same as its source" if content == expected.get(name) else "NOT the same as its source"
        _say(f"  {size_text(len(content)):>8}  /{name}  {verdict}", "dim")
    _expect(found == expected, "the partition does not hold the selected files alone, as they were")


def run(engine: Engine, reference: str) -> None:
    """List the weights from within a container, if the engine runs any."""
    if not isinstance(engine, DockerEngine | Podman):
        return
    argv = ("/bin/busybox", "ls", "-l", "/models")
    _command(engine.name, "run", "--rm", reference, *argv)
    try:
        printed = engine.run(reference, *argv)
    except CommandError as error:
        _say(f"  no container can run on this machine: {_last_line(error.output)}", "yellow")
        return
    for line in printed.splitlines():
        _say(f"  {line}", "dim")


def show_refusals(stage: Stage, engine: Engine) -> None:
    """Pull a partition where there is none to be had, and show what the engine says.

    Raises:
        UnprovenError: it could be pulled.
    """
    for address, rectangle in ((stage.registry.address, PARTITIONS[0]), (stage.proxy.address, OUTSIDE)):
        reference = f"{address}/{REPOSITORY}:{tag_of(rectangle)}"
        try:
            _pull(engine, reference)
        except PullFailed as refusal:
            _say(f"  {_last_line(refusal.output)}", "dim")
        else:
            raise UnprovenError(f"{reference} could be pulled")


def summary(image: Image, pulls: Iterable[Pull]) -> Table:
    """Return what each pull took, beside the whole image."""
    table = Table(box=None, pad_edge=False, padding=(0, 3, 0, 0))
    table.add_column("", no_wrap=True)
    for heading in ("files", "size", "sent", "kept before", "never sent"):
        table.add_column(heading, justify="right", no_wrap=True)
    for one in pulls:
        sizes = (size_text(size) for size in (one.size, one.sent, one.size - one.sent))
        spared = image.total - one.size
        table.add_row(one.tag, str(one.files), *sizes, f"{size_text(spared)}  {spared / image.total:.0%}")
    table.add_row(f"{TAG}, all of it", str(len(image.weights)), size_text(image.total))
    return table


def tag_of(rectangle: Rectangle) -> str:
    """Return the tag that names a partition."""
    return f"{TAG}--{'.'.join(map(str, rectangle))}"


def _pull(engine: Engine, reference: str) -> None:
    _say(f"$ {_PULLS[engine.name]}{reference}", "cyan")
    engine.pull(reference)


def _step(title: str) -> None:
    _say(f"\n{title}", "bold")


def _command(*argv: str) -> None:
    _say(f"$ {shlex.join(argv)}", "cyan")


def _say(text: str, style: str | None = None) -> None:
    _console.print(text, style=style, markup=False)


def _expect(holds: bool, claim: str) -> None:  # noqa: FBT001 - the condition comes first, as in assert
    if not holds:
        raise UnprovenError(claim)


def _last_line(text: str) -> str:
    return text.strip().rpartition("\n")[2]


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    """Begin to clean up, and let nothing interrupt that."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main())
