"""Skopeo: copies an image into an OCI layout; it checks every digest and runs nothing."""

import hashlib
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.lab.engines.engine import Lifetime, add_login, forget_logins, pull
from tests.lab.programs import environment, program
from tests.lab.rootfs import apply_layers


class Skopeo(Lifetime):
    """`with Skopeo.start(directory) as skopeo: ...`; one OCI layout for each reference."""

    name = "skopeo"

    def __init__(self, directory: Path) -> None:
        super().__init__(directory)
        self._logins = directory / "auth.json"
        forget_logins(self._logins)
        (directory / "registries.conf").touch()
        self._environment = environment(CONTAINERS_REGISTRIES_CONF=str(directory / "registries.conf"))

    def login(self, address: str, user: str, password: str) -> None:
        add_login(self._logins, address, user, password)

    def pull(self, reference: str, platform: str | None = None) -> None:
        self.copy(reference, self._layout(reference), platform)

    def copy(self, reference: str, layout: Path, platform: str | None = None, *arguments: str) -> None:
        """Run `skopeo copy` into an OCI layout; `arguments` are more of its own, like "--all"."""
        argv = (
            *(program("skopeo"), "--insecure-policy", *_overrides(platform)),
            *("copy", "--src-tls-verify=false", "--src-authfile", str(self._logins), *arguments),
            *(f"docker://{reference}", f"oci:{layout}"),
        )
        pull(self.name, reference, argv, self._environment)

    def files(self, reference: str) -> dict[str, bytes]:
        """Apply the layers that were copied, in the order of the copied manifest."""
        return apply_layers(_layers(self._layout(reference)))

    def remove(self, reference: str) -> None:
        shutil.rmtree(self._layout(reference))

    def _layout(self, reference: str) -> Path:
        return self._directory / hashlib.sha256(reference.encode()).hexdigest()[:16]


def _overrides(platform: str | None) -> Iterator[str]:
    if platform:
        for option, value in zip(("os", "arch", "variant"), platform.split("/"), strict=False):
            yield f"--override-{option}={value}"


def _layers(layout: Path) -> Iterator[bytes]:
    index = json.loads((layout / "index.json").read_bytes())
    manifest: dict[str, Any] = json.loads(_blob(layout, index["manifests"][0]["digest"]))
    for layer in manifest["layers"]:
        yield _blob(layout, layer["digest"])


def _blob(layout: Path, digest: str) -> bytes:
    return (layout / "blobs" / digest.replace(":", "/")).read_bytes()
