"""``python -m benchmarks.build``: build, push, change, rebuild; twodfs beside Docker, in one run."""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from benchmarks.build.contenders import Contender, DockerImageEach, DockerOneImage, Twodfs, TwodfsUnpushed
from benchmarks.drawings import draw
from benchmarks.models import SPLITS, Model, Noise, make_model
from tests.lab.engines import DockerEngine
from tests.lab.registry import Registry

RESULTS = Path(__file__).parents[1] / "results"
SHARES = (1, 20, 50, 100)
"""Percent of the splits that change, at least one split."""


def main() -> None:
    arguments = _arguments()
    with ExitStack() as stack:
        scratch = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-build-")))
        for name in ("registry", "docker"):
            (scratch / name).mkdir()
        registry = stack.enter_context(Registry.start(scratch / "registry"))
        contenders: list[Contender] = [Twodfs(scratch / "pushed"), TwodfsUnpushed(scratch / "unpushed")]
        if not arguments.no_docker:
            docker = stack.enter_context(DockerEngine.start(scratch / "docker"))
            contenders += [DockerOneImage(docker), DockerImageEach(docker)]
        noise = Noise(seed=1)
        models = [make_model(name, scratch / name, noise) for name in arguments.models]
        measured = [_measure(model, contenders, registry, noise, arguments.rounds) for model in models]
    outcome = {"machine": _machine(), "models": measured}
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "build.json").write_text(json.dumps(outcome, indent=1) + "\n")
    draw("build", outcome, RESULTS)
    print("\n".join(_table(outcome)))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.build", description=__doc__)
    parser.add_argument("--models", nargs="+", choices=SPLITS, default=list(SPLITS))
    parser.add_argument("--rounds", type=int, default=2, help="of which the median counts")
    parser.add_argument("--no-docker", action="store_true")
    return parser.parse_args()


def _measure(
    model: Model, contenders: Sequence[Contender], registry: Registry, noise: Noise, rounds: int
) -> dict[str, Any]:
    """Return the median seconds of each contender in each situation; it takes turns within a round."""
    seconds: dict[str, dict[str, list[float]]] = {one.name: {} for one in contenders}
    for number in range(rounds):
        # A repository of its own for each round, so that the registry has nothing either.
        repository = f"{registry.address}/{model.name.lower()}-{number}"
        for situation, prepare in _situations(model, noise):
            prepare()
            for one in contenders:
                if situation == "cold":
                    one.forget()
                os.sync()
                begin = time.perf_counter()
                one.publish(model, repository)
                seconds[one.name].setdefault(situation, []).append(time.perf_counter() - begin)
                print(
                    f"{model.name} {situation}: {one.name} {seconds[one.name][situation][-1]:.2f} s",
                    file=sys.stderr,
                )
    medians = {
        name: {situation: statistics.median(taken) for situation, taken in found.items()}
        for name, found in seconds.items()
    }
    return {"model": model.name, "splits": len(model.files), "bytes": model.size, "seconds": medians}


def _situations(model: Model, noise: Noise) -> Iterator[tuple[str, Callable[[], None]]]:
    yield "cold", lambda: None
    yield "warm", lambda: None
    for share in SHARES:
        count = max(1, round(len(model.files) * share / 100))
        for top_down in (True, False):
            way = "top-down" if top_down else "bottom-up"

            def change(count: int = count, *, top_down: bool = top_down) -> None:
                model.change(count, noise, top_down=top_down)

            yield f"{share} % {way}", change


def _table(outcome: dict[str, Any]) -> Iterator[str]:
    machine = outcome["machine"]
    yield (
        f"{machine['processors']} processors, Python {machine['python']}; "
        f"SHA-256 {machine['sha256']:.0f} MB/s, write {machine['write']:.0f} MB/s, "
        f"bare interpreter {machine['interpreter']:.3f} s"
    )
    for model in outcome["models"]:
        names = list(model["seconds"])
        yield f"\n{model['model']}: {model['bytes'] / 1e6:.1f} MB in {model['splits']} splits; seconds"
        yield f"{'':18}" + "".join(f"{name:>20}" for name in names)
        for situation in model["seconds"][names[0]]:
            row = [model["seconds"][name][situation] for name in names]
            best = f"{min(row[2:]) / row[0]:8.1f}x" if len(row) > 2 else ""
            yield f"{situation:18}" + "".join(f"{taken:20.2f}" for taken in row) + best
        hashing = model["bytes"] / 1e6 / machine["sha256"]
        yield f"hashing it on one processor takes {hashing:.2f} s"


def _machine() -> dict[str, Any]:
    """Return what limits: how fast this machine hashes and writes, and starts an interpreter."""
    content = os.urandom(64_000_000)
    with tempfile.TemporaryFile(buffering=0) as file:
        written = _rate(lambda: file.write(content))
    return {
        "processors": os.cpu_count(),
        "python": platform.python_version(),
        "sha256": _rate(lambda: hashlib.sha256(content)),
        "write": written,
        "interpreter": _timed(lambda: subprocess.run([sys.executable, "-c", ""], check=True)),
    }


def _rate(work: Callable[[], object]) -> float:
    """Return MB/s of ``work`` on 64 MB."""
    return 64 / _timed(work)


def _timed(work: Callable[[], object]) -> float:
    taken = []
    for _ in range(3):
        begin = time.perf_counter()
        work()
        taken.append(time.perf_counter() - begin)
    return min(taken)


main()
