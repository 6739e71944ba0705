"""Command lines that use every option of both programs, one after the other in one directory."""

import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.lab.certificates import Authority
from tests.lab.proxy import Proxy
from tests.lab.recorded_release.content import Release, keys, push
from tests.lab.registry import Registry

Json = dict[str, Any]
COMMANDS = (
    *("build", "push", "export", "inspect", "anchor", "doctor"),
    *("verify", "login", "logout", "images", "rm", "prune"),
)
_OPTION = re.compile(r"(?<![\w-])--?[a-z][a-z-]*")
_DIGEST = re.compile(r"\bsha256:[0-9a-f]{64}\b")
_ALWAYS_SAME = {"exitStatus", "check"}
# Compressors of other machines write other bytes; doctors and times tell of the machine.
_INEXACT = re.compile(r"gzip|zstd|auto|compat|images|doctor|prune|/(gz|sum|zst)\b")

# Places that differ each time: REGISTRY (plain HTTP), SECURE (TLS), PROXY (in front of REGISTRY); {stdin} <<< before.
WRONG = """
twodfs
twodfs nonsense
twodfs --nonsense
twodfs build
twodfs build scratch
twodfs build scratch REGISTRY/new/wrong:v1 more
twodfs build scratch REGISTRY/new/wrong:v1 --nonsense
twodfs build scratch REGISTRY/new/wrong:v1 --plat linux/amd64
twodfs build scratch REGISTRY/new/wrong:v1 --push=yes
twodfs build scratch REGISTRY/new/wrong:v1 --file
twodfs build scratch REGISTRY/new/wrong:v1 --file --push
twodfs build scratch REGISTRY/new/wrong:v1 --file ''
twodfs build scratch REGISTRY/new/wrong:v1 --file absent.json --json
twodfs build scratch REGISTRY/new/wrong:v1 --jobs 0 --json
twodfs build scratch REGISTRY/new/wrong:v1 --jobs 65
twodfs build scratch REGISTRY/new/wrong:v1 --jobs many
twodfs build scratch REGISTRY/new/wrong:v1 --level 23
twodfs build scratch REGISTRY/new/wrong:v1 --compression lzma
twodfs build scratch REGISTRY/new/wrong:v1 --media-types other
twodfs build scratch REGISTRY/new/wrong:v1 --anchor=maybe
twodfs build REGISTRY/old/plain:v1 REGISTRY/new/wrong:v1 --max-inflated much
twodfs build scratch REGISTRY/new/wrong:v1 --plain-http --tls
twodfs build scratch 'no reference' --json
twodfs push REGISTRY/never/built:v1 --json
twodfs export REGISTRY/old/model:v1
twodfs export REGISTRY/old/model:v1 out.tar --format rar
twodfs inspect REGISTRY/never/pushed:v1 --json
twodfs inspect REGISTRY/old/model:v1 --tls
twodfs anchor
twodfs doctor REGISTRY/never/pushed:v1 --json
twodfs verify PROXY/old/model:v1--edge
twodfs verify PROXY/old/model:v1--edge --key absent.pub
twodfs verify PROXY/old/model:v1--edge --key server.pem --json
twodfs login REGISTRY
twodfs login REGISTRY --password-stdin
twodfs images more
twodfs rm
twodfs rm REGISTRY/never/built:v1 --json
twodfs prune
twodfs prune --max-size much
twodfs-proxy --nonsense
twodfs-proxy --check-config
twodfs-proxy --check-config --upst http://127.0.0.1:1
twodfs-proxy --check-config --upstream ftp://127.0.0.1
twodfs-proxy --check-config --upstream http://127.0.0.1:1 --listen nowhere
twodfs-proxy --check-config --upstream http://127.0.0.1:1 --config absent.toml
twodfs-proxy nonsense
twodfs-proxy doctor
twodfs-proxy doctor --upstream http://REGISTRY --tag v1
twodfs-proxy doctor --upstream http://REGISTRY --nonsense
"""
RIGHT = """
twodfs --version
twodfs --help
twodfs -h
twodfs build scratch REGISTRY/new/a:v1 --platform linux/amd64,linux/arm64 --compression none --push --json
twodfs build scratch --platform linux/amd64 REGISTRY/new/a:v2 --platform=linux/arm64 --compression=none --quiet
twodfs build -q REGISTRY/old/plain:v1 REGISTRY/new/b:v1 -f other.json --base-plain-http --plain-http --anchor none \
  --compression none --media-types docker --max-inflated 1GB --checksum --jobs 2
twodfs build -qfother.json REGISTRY/old/plain:v1 REGISTRY/new/b:v2 --anchor=index --compression none --jobs=64 --json
twodfs build scratch REGISTRY/new/gz:v1 -qf other.json --compression gzip --level 9 --media-types base --json
twodfs build scratch REGISTRY/new/zst:v1 --file=other.json --compression zstd --level=3 --media-types oci -q --json
twodfs build scratch REGISTRY/new/sum:v1 --file other.json --compression auto --compat --push --json
twodfs build SECURE/base:v1 SECURE/new/c:v1 --base-tls --tls --ca-file lab-ca.pem --compression none --push --json
twodfs push REGISTRY/new/a:v2 --plain-http --json
twodfs push --quiet -- REGISTRY/new/b:v1
twodfs push SECURE/new/c:v1 --tls --ca-file=lab-ca.pem --json -q
twodfs export REGISTRY/new/a:v1--edge edge.docker.tar --platform=linux/amd64
twodfs export REGISTRY/new/a:v1--0.0.0.1 part.tar --format oci --platform linux/arm64 --json
twodfs export --platform linux/amd64 REGISTRY/old/model:v1--edge - --plain-http --format docker -q
twodfs export SECURE/new/c:v1 secure.tar --format=oci --tls --ca-file lab-ca.pem --quiet --json
twodfs build oci-archive:part.tar REGISTRY/new/d:v1 --compression none --json
twodfs inspect REGISTRY/old/model:v1
twodfs inspect REGISTRY/old/model:v1 --json --plain-http
twodfs inspect -q REGISTRY/old/model:v1--gpu--0.0.0.0
twodfs inspect --json PROXY/old/model:v1--edge
twodfs inspect SECURE/new/c:v1 --quiet --tls --ca-file lab-ca.pem
twodfs doctor REGISTRY/old/model:v1
twodfs doctor REGISTRY/old/docker:v1 --plain-http --json -q
twodfs doctor SECURE/new/c:v1 --quiet --tls --ca-file lab-ca.pem
twodfs verify PROXY/old/model:v1--edge --key signing.pub
twodfs verify PROXY/old/model:v1--edge --key signing.pub --plain-http --json --recursive -q
twodfs verify PROXY/old/model:v1--edge --key builders.pub --key=signing.pub -r --recursive-source \
  --source-key builders.pub --json
twodfs verify PROXY/old/model:v1--edge --key builders.pub --json
twodfs verify PROXY/old/model:v1--edge --key signing.pub --source sha256:NOUGHT --json
twodfs verify SECURE/new/c:v1 --quiet --key signing.pub --tls --ca-file lab-ca.pem --json
twodfs anchor REGISTRY/old/docker:v1 --plain-http --json
twodfs anchor REGISTRY/old/model:v1 -q
twodfs anchor SECURE/new/c:v1 --quiet --tls --ca-file lab-ca.pem
'lovelace' <<< twodfs login REGISTRY --username ada --password-stdin --plain-http
'lovelace' <<< twodfs login REGISTRY -uada --password-stdin --json -q
'lovelace' <<< twodfs login SECURE -u ada --password-stdin --tls --ca-file lab-ca.pem --quiet
twodfs logout REGISTRY --json
twodfs logout SECURE -q
twodfs logout --quiet
twodfs images
twodfs images --quiet
twodfs images --json -q
twodfs rm -q REGISTRY/new/a:v1 --json REGISTRY/new/b:v1
twodfs rm --quiet REGISTRY/new/a:v2
twodfs prune --max-size 20GB --json -q
twodfs prune --max-size=1KiB --images --quiet
twodfs images --json
twodfs-proxy --version
twodfs-proxy --help
twodfs-proxy doctor --help
twodfs-proxy --check-config --upstream http://127.0.0.1:1 --listen 127.0.0.1:5998 --admin none
twodfs-proxy --check-config --config=proxy.toml
twodfs-proxy --config proxy.toml --upstream=http://127.0.0.1:2 --check-config --admin=127.0.0.1:9998
twodfs-proxy doctor --upstream http://REGISTRY --repository old/model --tag v1 --realm-host tokens.example.org --json
twodfs-proxy doctor --upstream=http://REGISTRY --realm-host one:1 --realm-host two:2
twodfs-proxy --upstream http://REGISTRY doctor --json
twodfs-proxy doctor --config proxy.toml --json
"""


@dataclass(frozen=True, slots=True)
class Place:
    """Where command lines run, and what their capitals stand for."""

    directory: Path
    release: Release
    names: Json

    def run(self, line: str) -> Json:
        """Run a line; returns its exit status, what it printed, and whether it said more."""
        typed, _, command = line.rpartition(" <<< ")
        program, *arguments = shlex.split(command)
        for name, stands_for in self.names.items():
            arguments = [one.replace(name, stands_for) for one in arguments]
        module = {"twodfs": "twodfs", "twodfs-proxy": "proxy"}[program]
        done = subprocess.run(
            [sys.executable, "-W", "error", "-m", module, *arguments],
            cwd=self.directory,
            env=self.release.run_in(
                {
                    **os.environ,
                    "TWODFS_STORE": str(self.directory / "store"),
                    "DOCKER_CONFIG": str(self.directory / "docker"),
                    "COLUMNS": "100",
                    "TWODFS_PROXY_LOG_LEVEL": "error",
                }
            ),
            input="".join(shlex.split(typed)).encode(),
            capture_output=True,
            timeout=120,
            check=False,
        )
        is_exact = done.returncode == 0 and not _INEXACT.search(line)
        return {
            "line": line,
            "status": done.returncode,
            "out": _shape(self._stable(done.stdout.decode(errors="replace")), is_exact=is_exact),
            "is_quiet": not done.stderr if done.returncode == 0 else None,
        }

    def _stable(self, text: str) -> str:
        for name, stands_for in self.names.items():
            text = text.replace(stands_for, name)
        return text.replace(str(self.directory), "HERE")


@contextmanager
def place(directory: Path, release: Release, content: Json) -> Iterator[Place]:
    """Yield a place with registries, a proxy of the release in front of one, keys, and files to build from."""
    for name in ("plain", "secure", "proxy", "here"):
        (directory / name).mkdir(parents=True)
    here = directory / "here"
    pair = Authority(here).issue("server", "127.0.0.1")
    tls = {"http": {"tls": {"certificate": str(pair.certificate), "key": str(pair.key)}}}
    signing = keys(here, "signing")
    keys(here, "builders")
    _write_files(here)
    variables = {
        "TWODFS_PROXY_SIGNING_KEY": str(signing.private),
        "TWODFS_PROXY_SIGNING_REGISTRY": "registry.example.org",
        **release.environment(),
    }
    with Registry.start(directory / "secure") as filled:
        push({"blobs": {}, "manifests": []} | _base(content), filled)
    with (
        Registry.start(directory / "plain") as registry,
        Registry.start(directory / "secure", extra_config=tls) as secure,
        Proxy.start(directory / "proxy", registry.url, environment=variables) as proxy,
    ):
        push(content, registry)
        names = {"REGISTRY": registry.address, "SECURE": secure.address, "PROXY": proxy.address, "NOUGHT": "0" * 64}
        yield Place(here, release, names)


def lines(text: str) -> list[str]:
    return [line for line in text.replace("\\\n", "").splitlines() if line]


def options(release: Release) -> dict[str, list[str]]:
    """Return the options that the help of each command names where it lists them."""
    commands = ("twodfs", *(f"twodfs {one}" for one in COMMANDS), "twodfs-proxy", "twodfs-proxy doctor")
    return {command: sorted(listed(release, command)) for command in commands}


def used(played: Iterable[str]) -> dict[str, set[str]]:
    """Return the options that command lines use, by command; of short ones that stand together, each."""
    found: dict[str, set[str]] = {}
    for line in played:
        program, *words = shlex.split(line.rpartition(" <<< ")[2])
        names = [one for one in words if not one.startswith("-")]
        command = next((one for one in names if one in {*COMMANDS, "doctor"}), "")
        of_command = found.setdefault(f"{program} {command}".strip(), set())
        for word in words:
            if word.startswith("--"):
                of_command.add(word.partition("=")[0])
            elif word.startswith("-"):
                of_command |= {f"-{letter}" for letter in word[1:]}
    return found


def listed(release: Release, command: str) -> Iterator[str]:
    """Yield the options that the help of one command lists."""
    program, *arguments = command.split()
    module = {"twodfs": "twodfs", "twodfs-proxy": "proxy"}[program]
    shown = subprocess.run(
        [sys.executable, "-m", module, *arguments, "--help"],
        env=release.run_in({**os.environ, "COLUMNS": "100"}),
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    ).stdout
    for line in shown.splitlines():
        if re.match(r" {2,6}-", line):
            yield from _OPTION.findall(re.split(r"(?<=\S) {2,}", line.strip())[0])


def _shape(text: str, *, is_exact: bool) -> Any:
    """Return JSON as it is parsed, the types alone where values differ between machines; of other text the digests.

    Sentences may be written anew, so nothing is compared of them but that they are there.
    """
    try:
        value = json.loads(text)
    except ValueError:
        return {"is_empty": not text, "digests": _DIGEST.findall(text) if is_exact else []}
    return value if is_exact else _types(value)


def _types(value: Any) -> Any:
    match value:
        case dict():
            return {key: one if key in _ALWAYS_SAME else _types(one) for key, one in sorted(value.items())}
        case list():
            return [json.loads(one) for one in sorted({json.dumps(_types(one)) for one in value})]
        case _:
            return "number" if isinstance(value, int | float) else type(value).__name__


def _base(content: Json) -> Json:
    """Return the ordinary image alone, as the base in a registry with TLS."""
    manifests = [dict(one, repository="base") for one in content["manifests"] if one["repository"] == "old/plain"]
    return {"blobs": {"base": content["blobs"]["old/plain"]}, "manifests": manifests}


def _write_files(here: Path) -> None:
    (here / "proxy.toml").write_text('upstream = "http://127.0.0.1:1"\nlisten = "127.0.0.1:5997"\n')
    for name in ("a", "b", "c"):
        (here / f"{name}.bin").write_bytes(name.encode() * 1000)
        (here / f"{name}.bin").chmod(0o644)
    cells = {"a.bin": (0, 0), "b.bin": (0, 1), "c.bin": (1, 1)}
    allotments = [
        {"src": f"./{name}", "dst": f"/models/{name}", "row": row, "col": col} for name, (row, col) in cells.items()
    ]
    (here / "2dfs.json").write_text(json.dumps({"partitions": {"edge": "0.0.0.1"}, "allotments": allotments}))
    (here / "other.json").write_text(json.dumps({"allotments": allotments[:2]}))
