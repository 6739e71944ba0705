"""``python -m benchmarks.build``: build, push, change, rebuild; beside hashing and curl, and beside Docker, cold."""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from benchmarks.build.floor import hashing, uploading
from benchmarks.build.growth import growth, interpreter, timed
from benchmarks.build.model_split import model_split
from benchmarks.build.outcome import COLD, HASHING, NEWEST, OLDER, OURS, UPLOADS, Seconds, ratios, spread
from benchmarks.drawings import draw
from benchmarks.evaluation.contenders.builder import Publisher
from benchmarks.evaluation.contenders.docker import Docker, DockerImages, OlderDocker
from benchmarks.evaluation.contenders.field import Twodfs
from benchmarks.models import SITUATIONS, Model, Noise, make_model, prepare
from benchmarks.peers import machine
from benchmarks.tables import TABLES
from tests.lab.images import busybox_base, push_image
from tests.lab.registry import Registry

RESULTS: Final = Path(__file__).parents[1] / "results"
_MODEL: Final = "ResNet50"
_SPLITS: Final = 10


def main() -> None:
    arguments = _arguments()
    with ExitStack() as stack:
        scratch = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-build-")))
        for name in ("registry", "docker", "older"):
            (scratch / name).mkdir()
        environment = machine()
        registry = stack.enter_context(Registry.start(scratch / "registry"))
        push_image(registry.url, "base", "v1", base=busybox_base())
        twodfs, noise = Twodfs(scratch), Noise(seed=1)
        dockers: dict[str, Publisher] = {}
        if not arguments.no_docker:
            docker = stack.enter_context(Docker.start(scratch / "docker"))
            older = stack.enter_context(OlderDocker.start(scratch / "older"))
            environment["versions"] |= {NEWEST: docker.version, OLDER: older.version}
            dockers = {NEWEST: DockerImages(docker, 1), OLDER: DockerImages(older, 1)}
        model = make_model(
            _MODEL,
            scratch / "docker" / "model",  # which Debian's newest Docker sees
            noise,
            splits=_SPLITS,
            base=f"{registry.address}/base:v1",
            by_layers=True,
        )
        seconds: Seconds = {}
        for number in range(arguments.rounds):
            _round(seconds, _Setting(model, noise, registry, number), twodfs, dockers)
        outcome = {
            "environment": environment,
            "rounds": arguments.rounds,
            "model": _MODEL,
            "sizes": [(model.directory / file).stat().st_size for file in model.files],
            "seconds": {
                name: {case: spread(taken) for case, taken in cases.items()} for name, cases in seconds.items()
            },
            "ratios": ratios(seconds),
            "interpreter": interpreter(),
            "growth": list(growth(_MODEL, scratch / "growth", noise, twodfs, arguments.rounds)),
            "split": model_split(scratch / "split", arguments.rounds),
        }
    if not arguments.no_docker:
        RESULTS.mkdir(exist_ok=True)
        (RESULTS / "build.json").write_text(json.dumps(outcome, indent=1) + "\n")
        draw("build", outcome, RESULTS)
    print("\n\n".join(TABLES["build"](outcome)))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.build", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5, help="of which the median counts")
    parser.add_argument("--no-docker", action="store_true", help="a quick look; the results file stays as it is")
    return parser.parse_args()


@dataclass(frozen=True, slots=True)
class _Setting:
    model: Model
    noise: Noise
    registry: Registry
    round: int

    def publish(self, publisher: Publisher) -> float:
        """Return the seconds until the model can be pulled."""
        os.sync()
        return timed(lambda: publisher.publish(self.model, f"{self.registry.address}/{self._repository}"))

    def upload(self, digests: dict[str, str]) -> float:
        """Return the seconds in which curl uploads the model."""
        os.sync()
        return uploading(self.model, digests, f"{self.registry.url}/v2/{self._repository}/floor")

    @property
    def _repository(self) -> str:
        return f"round-{self.round}"


def _round(seconds: Seconds, setting: _Setting, twodfs: Twodfs, dockers: Mapping[str, Publisher]) -> None:
    """Let each contender take its turn, every other round backwards, each with content that nothing has seen."""

    def note(name: str, situation: str, taken: float) -> None:
        seconds.setdefault(name, {}).setdefault(situation, []).append(taken)
        print(f"round {setting.round}: {situation}: {name}: {taken:.3f} s", file=sys.stderr)

    for name in (OURS, HASHING, *dockers)[:: -1 if setting.round % 2 else 1]:
        if name == HASHING:
            prepare(setting.model, COLD, setting.noise)
            taken, digests = hashing(setting.model)
            note(HASHING, COLD, taken)
            note(UPLOADS, COLD, setting.upload(digests))
            continue
        publisher = dockers.get(name, twodfs)
        publisher.forget()
        for situation in SITUATIONS if name == OURS else (COLD,):
            prepare(setting.model, situation, setting.noise)
            note(name, situation, setting.publish(publisher))


if __name__ == "__main__":
    main()
