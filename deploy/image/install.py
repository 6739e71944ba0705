"""Finish the image: our packages, the commands, the bytecode, and the bill of materials.

Usage: install.py CONTEXT LOCK TARGET PYTHON. Runs in the build stage, with nothing but Python.
"""

import compileall
import hashlib
import json
import py_compile
import re
import shutil
import sys
from importlib.metadata import Distribution, distributions
from pathlib import Path
from typing import Any, Final

_COMMANDS: Final = {
    "twodfs-proxy": "from proxy.__main__ import main\n\nmain()\n",
    "twodfs": "from twodfs.cli import main\n\nmain()\n",
    "twodfs-proxy-health": (
        "import sys\nfrom urllib.request import urlopen\n\n"
        'urlopen(sys.argv[1] if sys.argv[1:] else "http://127.0.0.1:9464/healthz", timeout=4)\n'
    ),
}
_PIN: Final = re.compile(r"^([A-Za-z0-9._-]+)==(\S+)", re.MULTILINE)
_OURS: Final = ("twodfs", "proxy")
# What wheels carry and nothing loads: sources of what is compiled, and zstandard's second copy of itself.
_UNUSED: Final = ("**/*.pyx", "**/*.pxd", "**/*.pyi", "**/*.c", "**/*.h", "zstandard/_cffi.*.so")
# Hundreds of modules, of which the log may load one.
_LEFT_AS_SOURCE: Final = re.compile(r"/pygments/(lexers|styles)/")


def main() -> None:
    """Finish what pip began in ``TARGET/lib``."""
    context, lock, target, python = Path(sys.argv[1]), sys.argv[2], Path(sys.argv[3]), sys.argv[4]
    library, programs = target / "lib", target / "bin"
    shutil.rmtree(library / "bin", ignore_errors=True)  # commands of our packages' packages
    for pattern in _UNUSED:
        for file in library.glob(pattern):
            file.unlink()
    for package in _OURS:
        shutil.copytree(context / package, library / package, ignore=shutil.ignore_patterns("__pycache__"))
    programs.mkdir()
    for name, text in _COMMANDS.items():
        (programs / name).write_text(f"#!{python}\n{text}", encoding="utf-8")
        (programs / name).chmod(0o755)
    shutil.copy(context / "LICENSE", target / "LICENSE")
    bill = bill_of_materials(context / lock, library)
    (target / "sbom.cdx.json").write_text(json.dumps(bill, indent=1), encoding="utf-8")
    # Without times, so that layers are the same whenever they are built.
    unchecked = py_compile.PycInvalidationMode.UNCHECKED_HASH
    done = compileall.compile_dir(
        library, quiet=1, rx=_LEFT_AS_SOURCE, invalidation_mode=unchecked, stripdir=str(library)
    )
    if not done:
        sys.exit("something does not compile")


def bill_of_materials(lock: Path, library: Path) -> dict[str, Any]:
    """Return what is in the library as a CycloneDX document; what is not in the lock is an error."""
    text = lock.read_text(encoding="utf-8")
    pins = {_canonical(name): version for name, version in _PIN.findall(text)}
    found = sorted(distributions(path=[str(library)]), key=lambda one: _canonical(one.name))
    stray = [one.name for one in found if pins.get(_canonical(one.name)) != one.version]
    if stray or not found:
        sys.exit(f"installed, but not as {lock.name} says: {', '.join(stray) or 'nothing'}")
    return {
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "version": 1,
        "metadata": {
            "component": {
                "type": "application",
                "name": "twodfs-proxy",
                "version": _version(library),
                "licenses": [{"license": {"id": "Apache-2.0"}}],
            },
            "properties": [
                {"name": "twodfs:lock", "value": lock.name},
                {"name": "twodfs:lock:sha256", "value": hashlib.sha256(text.encode()).hexdigest()},
            ],
        },
        "components": [
            {
                "type": "framework",
                "bom-ref": "python",
                "name": "python",
                "version": sys.version.split()[0],
                "licenses": [{"license": {"id": "Python-2.0"}}],
            },
            *map(_component, found),
        ],
    }


def _component(one: Distribution) -> dict[str, Any]:
    url = f"pkg:pypi/{_canonical(one.name)}@{one.version}"
    expression = one.metadata.json.get("license_expression")
    return {
        "type": "library",
        "bom-ref": url,
        "name": _canonical(one.name),
        "version": one.version,
        "purl": url,
        **({"licenses": [{"expression": expression}]} if expression else {}),
    }


def _canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def _version(library: Path) -> str:
    text = (library / "twodfs" / "__init__.py").read_text(encoding="utf-8")
    (version,) = re.findall(r'^__version__ = "([^"]+)"', text, re.MULTILINE)
    return str(version)


if __name__ == "__main__":
    main()
