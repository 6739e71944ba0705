"""Helm, as far as it needs no cluster: lint a chart, render it."""

import subprocess
import sys
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from tests.lab import command
from tests.lab.programs import environment

CHART = Path(__file__).parents[2] / "helm" / "twodfs-proxy"
_INSTALL = Path(__file__).with_name("install_helm.py")

Manifest = dict[str, Any]


@cache
def program() -> str:
    """Return the path of Helm, installed where it was not."""
    return subprocess.run([sys.executable, str(_INSTALL)], check=True, stdout=subprocess.PIPE, text=True).stdout.strip()


def lint(*values: Path) -> str:
    """Check the chart strictly with these files of values; raises CommandError."""
    return _run("lint", "--strict", str(CHART), *_files(values))


def template(
    *values: Path,
    kubernetes: str = "1.37",
    settings: Sequence[str] = (),
    release: str = "models",
    is_checked: bool = True,
    chart: Path = CHART,
) -> str:
    """Return what an installation would apply, tests included, as YAML; raises CommandError.

    `settings` are Helm's own `KEY=VALUE`. Values that are not checked may break the chart's schema.
    """
    more = [part for one in settings for part in ("--set", one)]
    if not is_checked:
        more.append("--skip-schema-validation")
    return _run("template", release, str(chart), "--kube-version", kubernetes, *_files(values), *more)


def manifests(rendered: str) -> list[Manifest]:
    return [one for one in yaml.safe_load_all(rendered) if one]


def find(rendered: Sequence[Manifest], kind: str, name: str) -> Manifest:
    """Return the one manifest of this kind whose name ends so."""
    (found,) = (one for one in rendered if one["kind"] == kind and one["metadata"]["name"].endswith(name))
    return found


def notes(*values: Path, settings: Sequence[str] = ()) -> str:
    """Return what an installation would print."""
    more = [part for one in settings for part in ("--set", one)]
    argv = ("install", "models", str(CHART), "--dry-run=client", *_files(values), *more)
    return _run(*argv).partition("\nNOTES:\n")[2]


def _files(values: Sequence[Path]) -> list[str]:
    return [part for file in values for part in ("--values", str(file))]


def _run(*arguments: str) -> str:
    # Neither the user's settings nor a cluster that this machine may know.
    return command.run((program(), *arguments), environment(HELM_CONFIG_HOME="/nonexistent", KUBECONFIG="/dev/null"))
