"""Make a release: wheels, source, container image, chart, bill of materials, checksums.

Usage: ``make release``, or release.py [--out DIR] [--base IMAGE] [--podman COMMAND] [--without image].

Only what git tracks goes in. The same commit gives the same bytes: every time in an archive is the commit's
(``SOURCE_DATE_EPOCH`` where it is set), and names are sorted. The image is the same for the same base.
"""

from __future__ import annotations

import argparse
import gzip
import hashlib
import io
import json
import os
import shlex
import shutil
import stat
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, BinaryIO, Final

_ROOT: Final = Path(__file__).parents[2]
_CLIENT: Final = Path("deploy/release/client.toml")
_CHART: Final = Path("helm/twodfs-proxy")
_HELM: Final = Path("tests/lab/install_helm.py")
_IMAGE_PARTS: Final = ("twodfs", "proxy", "deploy", "LICENSE", "requirements.lock", ".dockerignore")
_BASE: Final = "docker.io/library/python:3.13-slim-bookworm"
_NAME: Final = "localhost/twodfs-proxy"
_BILL: Final = "opt/twodfs/sbom.cdx.json"
_SUMS: Final = "SHA256SUMS"
_ASKS_PYTHON: Final = "import platform, sys; print('%d.%d' % sys.version_info[:2], platform.machine())"


class ReleaseError(Exception):
    """The release cannot be made; the message says why, and what to change."""


def main() -> int:
    """Make the release and return the exit status."""
    arguments = _arguments()
    try:
        with tempfile.TemporaryDirectory(prefix="twodfs-release-") as scratch:
            made = Release(arguments.out, Path(scratch)).make(
                image=None if "image" in arguments.without else Podman(shlex.split(arguments.podman)),
                base=arguments.base,
            )
    except ReleaseError as error:
        print(f"release: {error}", file=sys.stderr)
        return 1
    for file in made:
        print(f"{file.stat().st_size:>12,}  {file}")
    return 0


def _arguments() -> argparse.Namespace:
    as_written = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=as_written)
    parser.add_argument("--out", type=Path, default=_ROOT / "dist", help="where the files go [dist]")
    parser.add_argument("--base", default=_BASE, help="the image's base, a Python with pip [%(default)s]")
    parser.add_argument("--podman", default="podman", help="how to call podman [%(default)s]")
    parser.add_argument(
        "--without", action="append", default=[], choices=["image"], help="leave the image and its bill out"
    )
    return parser.parse_args()


class Release:
    """One version's files."""

    def __init__(self, out: Path, scratch: Path) -> None:
        """``out``: where the files go; ``scratch``: an empty directory of this process."""
        self._out = out
        self._scratch = scratch
        self._tree = scratch / "tree"
        self._epoch = _epoch()
        self._environment = {
            **os.environ,
            "SOURCE_DATE_EPOCH": str(self._epoch),
            "PYTHONDONTWRITEBYTECODE": "1",
        }

    def make(self, *, image: Podman | None, base: str) -> list[Path]:
        """Return the files made, checksums last; ``image`` None leaves the container image out.

        Raises:
            ReleaseError: a program failed.
        """
        self._copy_tracked()
        staged = self._scratch / "out"
        staged.mkdir()
        self._build(self._tree, staged, "wheel", "sdist")
        self._build(self._client_tree(), staged, "wheel")
        self._package_chart(staged)
        if image is not None:
            self._build_image(image, base, staged)
        made = sorted(staged.iterdir())
        sums = "".join(f"{_sha256(file)}  {file.name}\n" for file in made)
        (staged / _SUMS).write_text(sums, encoding="utf-8")
        self._out.mkdir(parents=True, exist_ok=True)
        for file in (*made, staged / _SUMS):
            shutil.move(file, self._out / file.name)
        return [self._out / name for name in (*(file.name for file in made), _SUMS)]

    def _copy_tracked(self) -> None:
        listed = _output(("git", "ls-files", "-z"), cwd=_ROOT)
        for name in filter(None, listed.split("\0")):
            copy = self._tree / name
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(_ROOT / name, copy)
            copy.chmod(0o755 if copy.stat().st_mode & stat.S_IXUSR else 0o644)
        for directory in (self._tree, *(one for one in self._tree.rglob("*") if one.is_dir())):
            directory.chmod(0o755)  # whatever the umask here is: it is part of the image

    def _client_tree(self) -> Path:
        tree = self._scratch / "client"
        shutil.copytree(self._tree / "twodfs", tree / "twodfs")
        for name in ("README.md", "LICENSE"):
            shutil.copy(self._tree / name, tree / name)
        shutil.copy(self._tree / _CLIENT, tree / "pyproject.toml")
        return tree

    def _build(self, tree: Path, out: Path, *targets: str) -> None:
        chosen = [part for target in targets for part in ("--target", target)]
        argv = (sys.executable, "-m", "hatchling", "build", "--directory", str(out), *chosen)
        _run(argv, cwd=tree, environment=self._environment)

    def _package_chart(self, out: Path) -> None:
        helm = _output((sys.executable, str(_ROOT / _HELM)), cwd=_ROOT).strip()
        packed = self._scratch / "chart"
        packed.mkdir()
        _run((helm, "package", str(self._tree / _CHART), "--destination", str(packed)), cwd=self._tree)
        (chart,) = packed.glob("*.tgz")
        with tarfile.open(chart) as given:
            files = {member.name: _content(given, member) for member in given if member.isfile()}
        (out / chart.name).write_bytes(_packed(files, self._epoch))

    def _build_image(self, podman: Podman, base: str, out: Path) -> None:
        python, machine = podman.run(base, "python3", "-c", _ASKS_PYTHON).split()
        context = self._scratch / "context"
        context.mkdir()
        for name in _IMAGE_PARTS:
            shutil.move(self._tree / name, context / name)
        self._download_wheels(context, python, machine)
        version = next(iter(out.glob("twodfs-*.whl"))).name.split("-")[1]
        arguments = {
            "BASE": base,
            "PIP": "--no-index --find-links /context/wheels",
            "VERSION": version,
            "REVISION": _output(("git", "rev-parse", "HEAD"), cwd=_ROOT).strip(),
        }
        architecture = {"x86_64": "amd64", "aarch64": "arm64"}.get(machine, machine)
        archive = out / f"twodfs-proxy-{version}-linux-{architecture}.docker.tar"
        podman.build(context, f"{_NAME}:{version}", arguments, self._epoch)
        saved = self._scratch / "saved.tar"
        podman.save(f"{_NAME}:{version}", saved)
        with tarfile.open(saved) as image, archive.open("wb") as normal:
            bill = _normalise(image, normal, self._epoch)
        (out / f"twodfs-proxy-{version}-linux-{architecture}.cdx.json").write_bytes(bill)

    def _download_wheels(self, context: Path, python: str, machine: str) -> None:
        """Put the wheels of the lock beside the Dockerfile: the image is built without a network."""
        platforms = [f"{kind}_{machine}" for kind in ("manylinux2014", "manylinux_2_17", "manylinux_2_28")]
        argv = (
            *(sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check", "download"),
            *("--require-hashes", "--only-binary", ":all:", "--python-version", python),
            *(part for platform in platforms for part in ("--platform", platform)),
            *("--dest", str(context / "wheels"), "--requirement", str(context / "requirements.lock")),
        )
        _run(argv, cwd=context)


class Podman:
    """Builds images with times of our choosing, which Docker of today's distributions does not."""

    def __init__(self, command: Sequence[str]) -> None:
        """``command``: the program, and options that come before all others."""
        self._command = tuple(command)

    def run(self, image: str, *argv: str) -> str:
        """Return what a program of the image prints."""
        isolated = ("--rm", "--network", "none", "--entrypoint", argv[0])
        return _output((*self._command, "run", *isolated, image, *argv[1:]))

    def build(self, context: Path, name: str, arguments: Mapping[str, str], epoch: int) -> None:
        """Build the Dockerfile of the context, without a network and with every time set to ``epoch``."""
        given = [part for name, value in arguments.items() for part in ("--build-arg", f"{name}={value}")]
        reproducible = (
            "--timestamp",
            str(epoch),
            "--layers=false",
            "--network",
            "none",
            "--format",
            "docker",
        )
        file = ("--file", str(context / "deploy" / "Dockerfile"), "--tag", name)
        _run((*self._command, "build", *reproducible, *file, *given, str(context)))

    def save(self, name: str, archive: Path) -> None:
        """Write the image into an archive that podman and Docker load, and forget it."""
        _run((*self._command, "save", "--format", "docker-archive", "--output", str(archive), name))
        _run((*self._command, "rmi", "--force", name))


def _epoch() -> int:
    """Return the time, in seconds, that everything in the release has."""
    given = os.environ.get("SOURCE_DATE_EPOCH")
    return int(given or _output(("git", "log", "-1", "--format=%ct"), cwd=_ROOT))


def _packed(files: Mapping[str, bytes], epoch: int) -> bytes:
    """Return a gzipped tar of ``files``, the same bytes for the same content."""
    packed = io.BytesIO()
    with (
        gzip.GzipFile(fileobj=packed, mode="wb", filename="", mtime=epoch) as compressed,
        tarfile.open(fileobj=compressed, mode="w") as tar,
    ):
        for name in sorted(files):
            tar.addfile(_member(name, len(files[name]), epoch), io.BytesIO(files[name]))
    return packed.getvalue()


def _normalise(image: tarfile.TarFile, normal: BinaryIO, epoch: int) -> bytes:
    """Write Docker's archive of an image again, without the names that its containers had while it was built.

    Returns:
        The bill of materials that is in the image.
    """
    (described,) = json.loads(_content(image, image.getmember("manifest.json")))
    config = json.loads(_content(image, image.getmember(described["Config"])))
    for key in ("container", "container_config", "parent"):
        config.pop(key, None)
    config["config"].pop("Hostname", None)
    for step in config["history"]:
        step.pop("comment", None)
    text = json.dumps(config, sort_keys=True).encode()
    name = f"{hashlib.sha256(text).hexdigest()}.json"
    layers = [f"{digest.removeprefix('sha256:')}.tar" for digest in config["rootfs"]["diff_ids"]]
    manifest = [{"Config": name, "Layers": layers, "RepoTags": described["RepoTags"]}]
    bill = None
    with tarfile.open(fileobj=normal, mode="w") as tar:
        for layer, place in dict(zip(layers, described["Layers"], strict=True)).items():
            member = image.getmember(place)
            with _opened(image, member) as content:
                tar.addfile(_member(layer, member.size, epoch), content)
            with _opened(image, member) as content, tarfile.open(fileobj=content) as files:
                bill = _content(files, files.getmember(_BILL)) if _BILL in files.getnames() else bill
        for file, body in ((name, text), ("manifest.json", json.dumps(manifest).encode())):
            tar.addfile(_member(file, len(body), epoch), io.BytesIO(body))
    if bill is None:
        raise ReleaseError(f"the image has no {_BILL}")
    return bill


def _member(name: str, size: int, epoch: int) -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.size, member.mtime, member.mode = size, epoch, 0o644
    return member


def _opened(archive: tarfile.TarFile, member: tarfile.TarInfo) -> IO[bytes]:
    file = archive.extractfile(member)
    if file is None:
        raise ReleaseError(f"{member.name} is no file")
    return file


def _content(archive: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
    with _opened(archive, member) as file:
        return file.read()


def _sha256(file: Path) -> str:
    with file.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()


def _output(argv: Sequence[str], cwd: Path | None = None) -> str:
    return _run(argv, cwd=cwd)


def _run(argv: Sequence[str], *, cwd: Path | None = None, environment: Mapping[str, str] | None = None) -> str:
    """Return what a program prints.

    Raises:
        ReleaseError: it is not there, or failed; with all that it wrote.
    """
    try:
        ended = subprocess.run(
            argv,
            cwd=cwd,
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
    except FileNotFoundError:
        raise ReleaseError(f"{argv[0]} is not installed") from None
    if ended.returncode:
        raise ReleaseError(f"{shlex.join(argv)} ended with {ended.returncode}:\n{ended.stdout}{ended.stderr}")
    return ended.stdout


if __name__ == "__main__":
    sys.exit(main())
