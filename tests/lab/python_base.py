"""A base image with a Python in it, made of this machine's own: no registry is asked.

Laid out as the official `python` images are (`/usr/local/bin/python3`), with the shared libraries that it
needs, and for builds with pip and a shell.
"""

import re
import shutil
import sys
import sysconfig
import tarfile
from collections.abc import Iterable
from pathlib import Path

from tests.lab import command
from tests.lab.programs import environment, program

# What a service never loads.
_LEFT_OUT = shutil.ignore_patterns(
    *("__pycache__", "site-packages", "dist-packages", "test", "tests", "idlelib", "tkinter", "turtledemo"),
    *("lib2to3", "ensurepip", "config-*", "*.a", "_test*.so", "_tkinter*.so"),
)
_LIBRARY = re.compile(r"^\s*(?:\S+ => )?(/\S+) \(0x", re.MULTILINE)
_PASSWD = "root:x:0:0::/root:/bin/sh\n"


def python_base(directory: Path, *, for_builds: bool) -> Path:
    """Return a tar of the root file system, written below the directory."""
    root = directory / ("build" if for_builds else "runtime")
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    library = root / "usr" / "local" / "lib" / version
    binary = root / "usr" / "local" / "bin" / "python3"
    binary.parent.mkdir(parents=True)
    shutil.copy(Path(sys.executable).resolve(), binary)
    shutil.copytree(sysconfig.get_path("stdlib"), library, ignore=_LEFT_OUT)
    modules = Path(sysconfig.get_config_var("DESTSHARED"))
    if not (library / "lib-dynload").exists():
        shutil.copytree(modules, library / "lib-dynload", ignore=_LEFT_OUT)
    # Wheels bring their own libraries, but for those that every Linux has (PEP 600).
    wheels = Path(sysconfig.get_path("platlib")).rglob("*.so")
    _copy_libraries([binary, *(library / "lib-dynload").glob("*.so"), *wheels], root)
    for folder, mode in {"tmp": 0o1777, "etc": 0o755, "bin": 0o755}.items():
        (root / folder).mkdir(exist_ok=True)
        (root / folder).chmod(mode)
    (root / "etc" / "passwd").write_text(_PASSWD)
    _strip(root)
    if for_builds:
        shutil.copy(program("busybox"), root / "bin" / "sh")
        for packages in ("site-packages", "dist-packages"):  # Debian's Python looks in the second
            shutil.copytree(Path(sysconfig.get_path("purelib")) / "pip", library / packages / "pip")
    return _packed(root)


def _copy_libraries(needy: Iterable[Path], root: Path) -> None:
    """Copy what the files are linked to, and the loader, to where the loader looks."""
    found: set[str] = set()
    for file in needy:
        found.update(_LIBRARY.findall(_linked(file)))
    libc = next(path for path in found if Path(path).name.startswith("libc."))
    loader = next(path for path in found if Path(path).name.startswith("ld-linux"))
    home = root / str(Path(libc).parent).lstrip("/")
    home.mkdir(parents=True)
    for path in found - {loader}:
        if "site-packages" not in path:
            shutil.copy(path, home / Path(path).name)
    place = root / loader.lstrip("/")
    place.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(loader, place)


def _linked(file: Path) -> str:
    return command.run((program("ldd"), str(file)), environment())


def _strip(root: Path) -> None:
    """Remove debugging symbols, as the official images do."""
    files = [file for file in root.rglob("*") if ".so" in file.name or file.name == "python3"]
    command.run((program("strip"), "--strip-unneeded", *map(str, files)), environment())


def _packed(root: Path) -> Path:
    archive = root.with_suffix(".tar")
    with tarfile.open(archive, "w") as tar:
        for path in sorted(root.iterdir()):
            tar.add(path, path.name, filter=_owned_by_root)
    shutil.rmtree(root)
    return archive


def _owned_by_root(member: tarfile.TarInfo) -> tarfile.TarInfo:
    member.uid = member.gid = 0
    member.uname = member.gname = "root"
    return member
