"""Run a module, and write down where it spends processor time, at each tick of the profiling timer.

A profiler that is told of every call makes small functions look dear. This one looks at the stack after some
milliseconds of processor time; awaiting coroutines are part of the stack, so it shows who asked.

    python -m benchmarks.flames.sampler FILE MODULE ARGUMENTS...

``FILE`` gets a line for each stack, in the folded form that flame graph tools read: ``outer;inner COUNT``.
"""

from __future__ import annotations

import runpy
import signal
import sys
from collections import Counter
from pathlib import Path
from types import CodeType, FrameType
from typing import Final

_SECONDS: Final = 0.001
_stacks: Counter[tuple[CodeType, ...]] = Counter()


def _look(_: int, frame: FrameType | None) -> None:
    stack = []
    while frame is not None:
        stack.append(frame.f_code)
        frame = frame.f_back
    _stacks[tuple(stack)] += 1


def _name(code: CodeType) -> str:
    """Return a function's module and name, the module without the path to it."""
    file = Path(code.co_filename)
    package = file.parent.name
    return f"{package}/{file.stem}.{getattr(code, 'co_qualname', code.co_name)}".replace(";", ",")


def _folded() -> str:
    folded: Counter[str] = Counter()
    for stack, count in _stacks.items():
        folded[";".join(map(_name, reversed(stack)))] += count
    return "".join(f"{stack} {count}\n" for stack, count in sorted(folded.items()))


def main() -> None:
    """Run the module until it ends; the samples are of what it did after its first second."""
    _, file, module, *arguments = sys.argv
    sys.argv = [module, *arguments]
    signal.signal(signal.SIGPROF, _look)
    signal.setitimer(signal.ITIMER_PROF, 1.0, _SECONDS)
    try:
        runpy.run_module(module, run_name="__main__", alter_sys=True)
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        Path(file).write_text(_folded())


if __name__ == "__main__":
    main()
