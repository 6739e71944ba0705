"""What bash, zsh and fish make of a line and the tabulator, with the scripts that both programs print."""

import os
import subprocess
import sys
from collections.abc import Iterator

import pytest

from tests.lab.peers import require
from tests.lab.shells import SHELLS, TypedShell, typed_shell
from tests.lab.workshop import SOURCE, write_model

IMAGE = "127.0.0.1:5000/library/model:v1"


@pytest.fixture(scope="module", params=SHELLS)
def shell(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[TypedShell]:
    """A shell that has read both scripts, in a directory with a few files, and a store with one image."""
    require(request.param, "setsid")
    directory = tmp_path_factory.mktemp("typed")
    write_model(directory / "model")
    (directory / "recipe with spaces.json").touch()
    (directory / "proxy.toml").touch()
    (directory / "bin").mkdir()
    for name, module in (("twodfs", "twodfs"), ("twodfs-proxy", "proxy")):
        (directory / "bin" / name).write_text(f'#!/bin/sh\nexec {sys.executable} -m {module} "$@"\n')
        (directory / "bin" / name).chmod(0o755)
    environment = {
        "PATH": f"{directory / 'bin'}:{os.environ['PATH']}",
        "PYTHONPATH": str(SOURCE),
        "TWODFS_STORE": str(directory / "store"),
    }
    build = [sys.executable, "-m", "twodfs", "build", "scratch", IMAGE, "--quiet"]
    subprocess.run(build, cwd=directory / "model", env=os.environ | environment, check=True, capture_output=True)
    read = "{0} completion fish | source" if request.param == "fish" else f"source <({{0}} completion {request.param})"
    beginning = "\n".join(map(read.format, ("twodfs", "twodfs-proxy")))
    with typed_shell(request.param, directory, beginning, environment) as started:
        yield started


@pytest.mark.parametrize(
    ("typed", "completed"),
    [
        ("twodfs bui", "twodfs build"),
        ("twodfs --ver", "twodfs --version"),
        ("twodfs completion z", "twodfs completion zsh"),
        ("twodfs build --checks", "twodfs build --checksum"),
        ("twodfs build a b --push --comp", "twodfs build a b --push --comp"),  # --compat or --compression
        ("twodfs build --anchor n", "twodfs build --anchor none"),
        ("twodfs build --anchor=n", "twodfs build --anchor=none"),
        ("twodfs build --jobs pro", "twodfs build --jobs pro"),
        ("twodfs build --file prox", "twodfs build --file proxy.toml"),
        ("twodfs build -f prox", "twodfs build -f proxy.toml"),
        ("twodfs build -f mod", "twodfs build -f model/"),
        ("twodfs build -f reci", "twodfs build -f recipe\\ with\\ spaces.json"),
        ("twodfs build prox", "twodfs build prox"),
        (f"twodfs export {IMAGE}--all prox", f"twodfs export {IMAGE}--all proxy.toml"),
        ("twodfs push 127.0", f"twodfs push {IMAGE}"),
        ("twodfs diff 127.0", f"twodfs diff {IMAGE}"),
        (f"twodfs show {IMAGE}--all --as dock", f"twodfs show {IMAGE}--all --as docker"),
        ("twodfs push 127.0.0.1:5000/lib", f"twodfs push {IMAGE}"),
        ("twodfs rm x/y:v1 127.0.0.1:5000/library/model:", f"twodfs rm x/y:v1 {IMAGE}"),
        ("twodfs-proxy --list", "twodfs-proxy --listen"),
        ("twodfs-proxy --config prox", "twodfs-proxy --config proxy.toml"),
        ("twodfs-proxy --upstream http://127.0.0.1:1 doc", "twodfs-proxy --upstream http://127.0.0.1:1 doctor"),
        ("twodfs-proxy doctor --rea", "twodfs-proxy doctor --realm-host"),
        ("twodfs-proxy cac", "twodfs-proxy cache"),
        ("twodfs-proxy cache ver", "twodfs-proxy cache verify"),
        ("twodfs-proxy cache prune --old", "twodfs-proxy cache prune --older-than"),
        ("twodfs-proxy --edge x cache import prox", "twodfs-proxy --edge x cache import proxy.toml"),
        ("twodfs-proxy cache export a:v1 --have prox", "twodfs-proxy cache export a:v1 --have proxy.toml"),
        ("twodfs-proxy pref", "twodfs-proxy prefetch"),
        ("twodfs-proxy prefetch --prune", "twodfs-proxy prefetch --prune-pins"),
        ("twodfs-proxy completion f", "twodfs-proxy completion fish"),
    ],
)
def test_a_line_is_completed(shell: TypedShell, typed: str, completed: str) -> None:
    line = shell.completed(typed).replace("\\:", ":")
    assert line.removesuffix("=") == completed  # zsh goes on to the value
