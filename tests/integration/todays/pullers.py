"""How each program pulls an image, and which files it has got then."""

import re
import uuid
from collections.abc import Callable
from typing import Final

from tests.integration.todays.laboratory import Laboratory
from tests.lab.engines.docker import saved_layers
from tests.lab.layouts import layout_files
from tests.lab.rootfs import apply_layers, read_tree
from tests.lab.todays_docker import Store
from tests.lab.todays_root import LAB

Puller = Callable[[Laboratory, str, str | None], dict[str, bytes]]
"""Pull a reference, for the machine's platform or for another, and return the files."""


def docker(store: Store) -> Puller:
    def pull(lab: Laboratory, reference: str, platform: str | None) -> dict[str, bytes]:
        client = lab.engines.docker(store)
        choice = ("--platform", platform) if platform else ()
        lab.run(*client, "pull", "--quiet", *choice, reference)
        return docker_files(lab, store, reference, *choice)

    return pull


def docker_files(lab: Laboratory, store: Store, reference: str, *options: str) -> dict[str, bytes]:
    """Return what `docker save` writes of an image that the engine has."""
    name = f"{uuid.uuid4().hex}.tar"
    lab.run(*lab.engines.docker(store), "save", *options, "--output", f"{LAB}/{name}", reference)
    return apply_layers(saved_layers(lab.root.directory / name))


def containerd(how: str) -> Puller:
    def pull(lab: Laboratory, reference: str, platform: str | None) -> dict[str, bytes]:
        client = lab.engines.containerd(how)
        choice = ("--platform", platform) if platform else ()
        local = ("--local",) if how == "local" else ()
        lab.run(*client, "images", "pull", "--plain-http", *local, *choice, reference)
        mounted = _new_directory(lab)
        lab.run(*client, "images", "mount", *choice, reference, f"{LAB}/{mounted}")
        return read_tree(lab.root.seen(f"{LAB}/{mounted}"))

    return pull


def podman(lab: Laboratory, reference: str, platform: str | None) -> dict[str, bytes]:
    choice = ("--platform", platform) if platform else ()
    lab.run(*lab.engines.podman, "pull", "--quiet", "--tls-verify=false", *choice, reference)
    return read_tree(lab.root.seen(lab.run(*lab.engines.podman, "image", "mount", reference).strip()))


def buildah(lab: Laboratory, reference: str, platform: str | None) -> dict[str, bytes]:
    choice = ("--platform", platform) if platform else ()
    container = lab.run(*lab.engines.buildah, "from", "--quiet", "--tls-verify=false", *choice, reference)
    return read_tree(lab.root.seen(lab.run(*lab.engines.buildah, "mount", container.strip()).strip()))


_SQUASHFS: Final = re.compile(r"\|(\d+)-\d+ +\|FS \(Squashfs")
_APPTAINERS_OWN: Final = (".singularity.d/", "environment", "etc/hosts", "etc/resolv.conf", "singularity")


def apptainer(lab: Laboratory, reference: str, platform: str | None) -> dict[str, bytes]:
    """Pull into its own format, and unpack that."""
    name = uuid.uuid4().hex
    choice = ("--arch", platform.partition("/")[2]) if platform else ()
    lab.run("apptainer", "pull", "--no-https", *choice, f"{LAB}/{name}.sif", f"docker://{reference}")
    # Not `apptainer build --sandbox`, which needs capabilities that root in a container may lack.
    at = _SQUASHFS.search(lab.run("apptainer", "sif", "list", f"{LAB}/{name}.sif"))
    assert at is not None
    unpack = ("unsquashfs", "-quiet", "-no-progress", "-offset", at[1])
    lab.run(*unpack, "-dest", f"{LAB}/{name}", f"{LAB}/{name}.sif")
    files = read_tree(lab.root.directory / name)
    return {path: content for path, content in files.items() if not path.startswith(_APPTAINERS_OWN)}


def skopeo(lab: Laboratory, reference: str, platform: str | None) -> dict[str, bytes]:
    name = uuid.uuid4().hex
    choice = (f"--override-arch={platform.partition('/')[2]}",) if platform else ()
    source = ("copy", "--quiet", "--src-tls-verify=false", f"docker://{reference}")
    lab.run("skopeo", *choice, *source, f"oci:{LAB}/{name}:it")
    return layout_files(lab.root.directory / name)


def crane(lab: Laboratory, reference: str, platform: str | None) -> dict[str, bytes]:
    """Export the file system, flattened."""
    name = f"{uuid.uuid4().hex}.tar"
    choice = ("--platform", platform) if platform else ()
    lab.run("crane", "export", *choice, reference, f"{LAB}/{name}")
    return apply_layers([(lab.root.directory / name).read_bytes()])


def crane_layout(lab: Laboratory, reference: str, platform: str | None) -> dict[str, bytes]:
    """Pull into an OCI layout."""
    name = uuid.uuid4().hex
    choice = ("--platform", platform or "linux/amd64")
    lab.run("crane", "pull", "--format=oci", *choice, reference, f"{LAB}/{name}")
    return layout_files(lab.root.directory / name)


def _new_directory(lab: Laboratory) -> str:
    return lab.directory(uuid.uuid4().hex).name
