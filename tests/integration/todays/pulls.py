"""Every program pulls by tag, chained, named, pinned and for another platform; engines run what they got."""

from dataclasses import dataclass
from typing import Final

from tests.integration.todays import pullers
from tests.integration.todays.check import Body, Checks
from tests.integration.todays.laboratory import CELLS, OTHER_PLATFORM, Laboratory
from tests.integration.todays.pullers import Puller
from tests.lab.documents import Cell
from tests.lab.todays_docker import Store

CHECKS = Checks()
check = CHECKS.add

DOCKERS: Final[dict[str, Store]] = {
    "Docker, classic store": "classic",
    "Docker, containerd store": "containerd",
}


@dataclass(frozen=True, slots=True)
class Pull:
    tag: str
    cells: tuple[Cell, ...]
    platform: str | None = None
    is_pinned: bool = False


# Each of other cells: what one pull has fetched is not there for the next.
PULLS: Final = {
    "pulls by tag": Pull("v1--0.0.0.1", ((0, 0), (0, 1))),
    "pulls a chain": Pull("v1--0.2.0.2--2.0.2.1", ((0, 2), (2, 0), (2, 1))),
    "pulls a named partition": Pull("v1--edge", ((0, 0), (1, 0))),
    "pulls a pinned digest": Pull("v1--2.0.2.2", ((2, 0), (2, 1), (2, 2)), is_pinned=True),
    "pulls for another platform": Pull("v1--1.1.1.2", ((1, 1), (1, 2)), platform=OTHER_PLATFORM),
}
PULLERS: Final[dict[str, Puller]] = {
    **{name: pullers.docker(store) for name, store in DOCKERS.items()},
    "containerd, ctr with the transfer service": pullers.containerd("transfer"),
    "containerd, ctr --local": pullers.containerd("local"),
    "podman": pullers.podman,
    "buildah from": pullers.buildah,
    "apptainer pull": pullers.apptainer,
    "skopeo copy": pullers.skopeo,
    "crane export": pullers.crane,
    "crane pull": pullers.crane_layout,
}


def _pulled(puller: Puller, pull: Pull) -> Body:
    def body(lab: Laboratory) -> None:
        reference = lab.pinned(pull.tag) if pull.is_pinned else lab.reference(pull.tag)
        assert puller(lab, reference, pull.platform) == lab.files(pull.cells, pull.platform)

    return body


def _run(lab: Laboratory, *client: str) -> None:
    run = ("run", "--rm", "--quiet", "--network", "none")
    find = ("/bin/busybox", "find", "/models", "-type", "f")
    assert lab.run(*client, *run, lab.reference("v1--1.2.1.2"), *find).split() == ["/models/1-2.bin"]


for _program, _puller in PULLERS.items():
    for _does, _pull in PULLS.items():
        check(_program, _does)(_pulled(_puller, _pull))

for _program, _store in DOCKERS.items():

    @check(_program, "runs a container of a partition")
    def _(lab: Laboratory, store: Store = _store) -> None:
        _run(lab, *lab.engines.docker(store))


@check("containerd, ctr --local", "runs a container of a partition")
def _(lab: Laboratory) -> None:
    client = lab.engines.containerd("run")
    reference = lab.reference("v1--1.2.1.2")
    lab.run(*client, "images", "pull", "--plain-http", "--local", reference)
    own = ("--runc-root", "/run/ctr-runc", "--fifo-dir", "/run/ctr-fifo")
    words = ("/bin/busybox", "cat", "/models/1-2.bin")
    assert lab.run(*client, "run", "--rm", *own, reference, "todays", *words).encode() == CELLS[1, 2][1]


@check("podman", "runs a container of a partition")
def _(lab: Laboratory) -> None:
    lab.run(*lab.engines.podman, "pull", "--quiet", "--tls-verify=false", lab.reference("v1--1.2.1.2"))
    _run(lab, *lab.engines.podman)


@check("buildah from", "builds upon a partition and pushes the result")
def _(lab: Laboratory) -> None:
    buildah, reference = lab.engines.buildah, lab.reference("v1--1.2.1.2")
    container = lab.run(*buildah, "from", "--quiet", "--tls-verify=false", reference).strip()
    lab.directory("buildah-new").joinpath("new.txt").write_bytes(b"new")
    lab.run(*buildah, "copy", container, "/lab/buildah-new/new.txt", "/new.txt")
    pushed = lab.reference("v1", "todays/buildah")
    lab.run(*buildah, "commit", "--quiet", "--tls-verify=false", container, f"docker://{pushed}")
    assert pullers.crane(lab, pushed, None) == {**lab.files([(1, 2)]), "new.txt": b"new"}
