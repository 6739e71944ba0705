"""Run the property tests of the parsers for a given time, and tell how many inputs were tried.

`python -m tests.property.fuzz --seconds 600`: each test gets its share, in rounds with seeds of their own.
"""

import argparse
import inspect
import sys
import time
import traceback
from collections.abc import Callable
from typing import Any

from hypothesis import HealthCheck, Phase, seed, settings

from tests.property import (
    test_headers,
    test_linear_work,
    test_parsers,
    test_readings,
    test_recipes,
    test_records,
    test_redaction,
    test_safetensors,
    test_scopes,
    test_selections,
    test_signatures,
    test_unions,
)

MODULES = (
    test_parsers,
    test_selections,
    test_unions,
    test_readings,
    test_headers,
    test_redaction,
    test_linear_work,
    test_records,
    test_recipes,
    test_scopes,
    test_signatures,
    test_safetensors,
)
ROUND = 500
PROFILE = settings(
    max_examples=ROUND,
    deadline=None,
    database=None,
    suppress_health_check=list(HealthCheck),
    phases=[Phase.explicit, Phase.generate, Phase.shrink],
    print_blob=True,
)


class Target:
    """One property test, and how often it was called."""

    def __init__(self, name: str, test: Any) -> None:
        self.name = name
        self.inputs = 0
        self.failure = ""
        # What a test says of its own number of inputs and time is meant for `make test`.
        vars(test).pop("_hypothesis_internal_settings_applied", None)
        self._test = PROFILE(test)
        inner: Callable[..., None] = test.hypothesis.inner_test

        def counted(*arguments: Any, **named: Any) -> None:
            self.inputs += 1
            inner(*arguments, **named)

        counted.__signature__ = inspect.signature(inner)  # type: ignore[attr-defined]
        test.hypothesis.inner_test = counted

    def run(self, seconds: float, first_seed: int) -> None:
        deadline = time.monotonic() + seconds
        number = first_seed
        while time.monotonic() < deadline and not self.failure:
            try:
                seed(number)(self._test)()
            except Exception:  # noqa: BLE001 - whatever a parser raises that it should not is what is looked for
                self.failure = traceback.format_exc()
            number += 1


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=600, help="for all tests together")
    parser.add_argument("--seed", type=int, default=0, help="of the first round; the next adds one")
    parser.add_argument("--only", default="", help="modules and tests that have this in their names")
    options = parser.parse_args()
    targets = [
        Target(name, test)
        for module in MODULES
        for name, test in vars(module).items()
        if name.startswith("test_") and hasattr(test, "hypothesis")
        if options.only in f"{module.__name__}.{name}"
    ]
    share = options.seconds / len(targets)
    print(f"{'inputs':>9}  test")
    for target in targets:
        target.run(share, options.seed)
        print(f"{target.inputs:>9}  {target.name}{' FAILED' if target.failure else ''}", flush=True)
    print(f"{sum(target.inputs for target in targets):>9}  in all")
    failures = [target.failure for target in targets if target.failure]
    print(*failures, sep="\n", file=sys.stderr)
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
