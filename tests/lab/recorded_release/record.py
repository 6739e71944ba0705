"""Records a release: `python -m tests.lab.recorded_release.record CHECKOUT`, with CHECKOUT a clone at its commit.

It takes minutes, and writes every file of `tests/fixtures/previous-release` anew but the README.
"""

import json
import sys
import tempfile
from pathlib import Path
from typing import Any

from tests.lab.recorded_release import command_lines, content, service, settings
from tests.lab.recorded_release.content import FIXTURES, Release

# What a Redis still has when digests are asked for again: whether it is sealed, and the kinds of keys that are gone.
AGAIN: dict[str, tuple[bool, tuple[str, ...]]] = {
    "whole": (False, ()),
    "without-partitions": (False, ("partition",)),
    "provenance-alone": (False, ("partition", "content", "field", "size", "signature")),
    "sealed": (True, ("partition",)),
}


def record(release: Release, directory: Path) -> dict[str, Any]:
    """Play every scene with a release; returns the files by their names."""
    images = content.build(directory)
    with service.scene(directory / "discovery", release, images, {}, {}) as played:
        asked = list(service.discover(played))
    pinned = [one for one in asked if service.is_pinned(one)]
    plain = service.play(directory / "plain", release, images, asked)
    sealed = service.play(directory / "sealed", release, images, asked, service.SEALED)
    first = [answer for one, answer in zip(asked, plain["answers"], strict=True) if service.is_pinned(one)]
    upstream = {}
    for name, (is_sealed, dropped) in AGAIN.items():
        dumped = service.without((sealed if is_sealed else plain)["redis"], *dropped)
        variables = service.SEALED if is_sealed else {}
        again = service.play(directory / f"again-{name}", release, images, pinned, variables, dumped)
        for one, was, is_now in zip(pinned, first, again["answers"], strict=True):
            assert service.content_of(is_now) == service.content_of(was), (name, one)
        upstream[name] = again["upstream"]
    settings.prepare(directory)
    shown = {name: settings.shown(directory, release, toml, {}) for name, toml in settings.CASES.items()}
    with command_lines.place(directory / "lines", release, images) as place:
        lines = [place.run(one) for one in command_lines.lines(command_lines.WRONG + command_lines.RIGHT)]
    guarded = service.guard(directory / "access", release, images)
    return {
        "registry": images,
        "questions": asked,
        "service": {name: plain[name] for name in ("answers", "upstream", "lines", "events", "counted", "types")},
        "metrics": plain["metrics"],
        "redis": plain["redis"],
        "redis-sealed": sealed["redis"],
        "upstream-again": upstream,
        "failures": service.fail(directory / "failures", release, images),
        "access": {name: one for name, one in guarded.items() if name in ("answers", "lines", "events")},
        "settings": shown,
        "options": command_lines.options(release),
        "command-lines": lines,
    }


def main() -> None:
    with tempfile.TemporaryDirectory() as directory:
        for name, part in record(Release(Path(sys.argv[1]).resolve(strict=True)), Path(directory)).items():
            (FIXTURES / f"{name}.json").write_text(_written(part) + "\n")
    for name, toml in settings.CASES.items():
        (FIXTURES / f"{name}.toml").write_text(toml.lstrip())


def _written(part: Any) -> str:
    """Return JSON with a line for each entry, so that differences can be read."""
    match part:
        case dict():
            inner = ",\n".join(f"{json.dumps(key)}: {json.dumps(one)}" for key, one in part.items())
            return f"{{\n{inner}\n}}"
        case _:
            inner = ",\n".join(json.dumps(one) for one in part)
            return f"[\n{inner}\n]"


if __name__ == "__main__":
    main()
