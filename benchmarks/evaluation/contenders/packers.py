"""Other programs that bring files into a registry: ORAS, crane, umoci and Buildah.

Each runs as its users would: with its own defaults, and with what it keeps from the build before.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from benchmarks.evaluation.contenders.builder import PATIENCE
from benchmarks.evaluation.contenders.docker import dockerfile_of
from benchmarks.models import Model
from tests.lab import command
from tests.lab.programs import environment, program
from tests.lab.todays import todays_program
from tests.lab.todays_root import LAB, TodaysRoot

_STATE: Final = "var-lib"
"""The directory, below the root's, that is ``/var/lib`` to its programs."""


class Oras:
    """``oras push``: each file as it is, a layer of an artifact that no engine runs."""

    name = "oras push"
    servers: Sequence[int] = ()

    def publish(self, model: Model, repository: str) -> None:
        _run(todays_program("oras"), "push", "--plain-http", f"{repository}/oras:v1", *model.files, at=model.directory)

    def forget(self) -> None:
        """It keeps nothing."""


class Crane:
    """``crane append`` with a tar for each split."""

    name = "crane append"
    servers: Sequence[int] = ()

    def __init__(self, directory: Path) -> None:
        """Keep the tars below ``directory``."""
        self._tars = _Tars(directory / "crane")

    def publish(self, model: Model, repository: str) -> None:
        layers = [word for tar in self._tars.of(model) for word in ("--new_layer", str(tar))]
        arguments = ("append", "--insecure", "--base", model.base, *layers, "--new_tag", f"{repository}/crane:v1")
        _run(todays_program("crane"), *arguments, at=model.directory)

    def forget(self) -> None:
        self._tars.forget()


class Umoci:
    """``umoci raw add-layer`` with a tar for each split, in a layout that has the base, and ``skopeo copy`` of it.

    ``umoci insert`` needs no tar, but what Debian's writes ends in the middle of a block: tar refuses it.
    """

    name = "umoci and skopeo"
    servers: Sequence[int] = ()

    def __init__(self, root: TodaysRoot, directory: Path) -> None:
        """Keep the layout below the directory of ``root``, which has skopeo, and the tars below ``directory``."""
        self._root = root
        self._layout = root.directory / "layout"
        self._tars = _Tars(directory / "umoci")

    def publish(self, model: Model, repository: str) -> None:
        place = f"oci:{LAB}/{self._layout.name}"
        if not self._layout.exists():
            self._root.run("skopeo", "copy", "--src-tls-verify=false", f"docker://{model.base}", f"{place}:base")
        _run(program("umoci"), "tag", "--image", f"{self._layout}:base", "v1", at=model.directory)
        for tar in self._tars.of(model):
            _run(program("umoci"), "raw", "add-layer", "--image", f"{self._layout}:v1", str(tar), at=model.directory)
        self._root.run("skopeo", "copy", "--dest-tls-verify=false", f"{place}:v1", f"docker://{repository}/umoci:v1")

    def forget(self) -> None:
        shutil.rmtree(self._layout, ignore_errors=True)
        self._tars.forget()


class Buildah:
    """``buildah build --layers``, a layer for each split, and ``buildah push``.

    It has a cache, and was quicker than ``from``, ``add`` and ``commit`` for each split, which have none.
    """

    name = "buildah"
    servers: Sequence[int] = ()

    def __init__(self, root: TodaysRoot) -> None:
        """Build models that lie below the directory of ``root``; its store is there, too."""
        self._root = root
        (root.directory / _STATE).mkdir()
        # The root is read-only, and without its notes in there every push would compress all layers again.
        root.run("mount", "--bind", f"{LAB}/{_STATE}", "/var/lib")

    def publish(self, model: Model, repository: str) -> None:
        reference = f"{repository}/buildah:v1"
        (model.directory / "Dockerfile").write_text(dockerfile_of(model.base, model.files))
        context = f"{LAB}/{model.directory.relative_to(self._root.directory)}"
        layers = ("--layers", "--quiet", "--tls-verify=false", "--file", f"{context}/Dockerfile")
        self._root.run("buildah", "build", *layers, "--tag", reference, context)
        self._root.run("buildah", "push", "--quiet", "--tls-verify=false", reference)

    def forget(self) -> None:
        self._root.run("buildah", "rmi", "--all", "--force")
        shutil.rmtree(self._root.directory / _STATE / "containers" / "cache", ignore_errors=True)


def packer_versions(root: TodaysRoot) -> dict[str, str]:
    """Return the version of each program."""
    umoci = command.run((program("umoci"), "--version"), environment())
    crane = root.run("dpkg-query", "--show", "--showformat", "${Version}", "crane")
    return {
        "ORAS": root.run("oras", "version").split()[1],
        "crane": crane.partition("+")[0],
        "umoci": umoci.split()[-1].partition("+")[0],
        "skopeo": root.run("skopeo", "--version").split()[2],
        "Buildah": root.run("buildah", "--version").split()[2],
    }


class _Tars:
    """A tar for each split, made again where its file has changed, as make would."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def of(self, model: Model) -> Iterator[Path]:
        self._directory.mkdir(exist_ok=True)
        for file in model.files:
            tar = self._directory / f"{file}.tar"
            if not tar.exists() or tar.stat().st_mtime_ns < (model.directory / file).stat().st_mtime_ns:
                _run("tar", "--create", "--file", str(tar), "--transform", "s,^,model/,", file, at=model.directory)
            yield tar

    def forget(self) -> None:
        shutil.rmtree(self._directory, ignore_errors=True)


def _run(*argv: str, at: Path) -> None:
    """Run a program in a directory; raises CommandError."""
    command.run(("env", f"--chdir={at}", *argv), environment(), seconds=PATIENCE)
