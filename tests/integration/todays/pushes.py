"""Docker builds upon partitions; engines push partitions back, to another repository and to their own."""

from typing import Final

from tests.integration.todays import pullers
from tests.integration.todays.check import Checks
from tests.integration.todays.laboratory import MODEL, OTHER_PLATFORM, Laboratory
from tests.integration.todays.pulls import DOCKERS
from tests.lab.todays_docker import Store

CHECKS = Checks()
check = CHECKS.add

_PUSHED: Final = ("v1--0.1.1.2", [(0, 1), (0, 2), (1, 1), (1, 2)])


def _push_back(lab: Laboratory, store: Store, repository: str) -> None:
    client = lab.engines.docker(store)
    tag, cells = _PUSHED
    pulled, pushed = lab.reference(tag), lab.reference(f"part-{store}", repository)
    lab.run(*client, "pull", "--quiet", pulled)
    lab.run(*client, "tag", pulled, pushed)
    lab.run(*client, "push", "--quiet", pushed)
    # What the registry itself has now is whole.
    direct = pushed.replace(lab.proxy.address, lab.registry.address)
    lab.run("crane", "validate", "--remote", direct)
    assert pullers.crane(lab, direct, None) == lab.files(cells)


for _program, _store in DOCKERS.items():

    @check(_program, "pushes a partition to another repository")
    def _(lab: Laboratory, store: Store = _store) -> None:
        _push_back(lab, store, f"todays/part-{store}")

    @check(_program, "pushes a partition to the repository it was cut from")
    def _(lab: Laboratory, store: Store = _store) -> None:
        _push_back(lab, store, MODEL)

    @check(f"buildx on {_program}", "builds FROM a partition, with COPY --from another")
    def _(lab: Laboratory, store: Store = _store) -> None:
        context = lab.directory(f"context-{store}")
        steps = [
            f"FROM {lab.reference('v1--2.1.2.2')}",
            f"COPY --from={lab.reference('v1--0.0.0.0')} /models/0-0.bin /copied.bin",
            'RUN ["/bin/busybox", "cp", "/copied.bin", "/run.bin"]',
        ]
        (context / "Dockerfile").write_text("\n".join(steps))
        client, built = lab.engines.docker(store), f"todays/built:{store}"
        options = ("--quiet", "--network", "none", "--load", "--tag", built)
        lab.run(*client, "buildx", "build", *options, f"/lab/{context.name}")
        weights = lab.files([(0, 0)])["models/0-0.bin"]
        expected = {**lab.files([(2, 1), (2, 2)]), "copied.bin": weights, "run.bin": weights}
        found = pullers.docker_files(lab, store, built)
        assert {path: content for path, content in found.items() if not path.startswith("etc/")} == expected


@check("buildx imagetools create", "copies a partition to another repository")
def _(lab: Laboratory) -> None:
    target = lab.reference("v1", "todays/imagetools")
    client = lab.engines.docker("containerd")
    lab.run(*client, "buildx", "imagetools", "create", "--tag", target, lab.reference("v1--1.0.1.2"))
    direct = target.replace(lab.proxy.address, lab.registry.address)
    lab.run("crane", "validate", "--remote", direct)
    assert pullers.crane(lab, direct, OTHER_PLATFORM) == lab.files([(1, 0), (1, 1), (1, 2)], OTHER_PLATFORM)


@check("podman", "pushes a partition to another repository")
def _(lab: Laboratory) -> None:
    tag, cells = _PUSHED
    pulled, pushed = lab.reference(tag), lab.reference("part", "todays/part-podman")
    lab.run(*lab.engines.podman, "pull", "--quiet", "--tls-verify=false", pulled)
    lab.run(*lab.engines.podman, "push", "--quiet", "--tls-verify=false", pulled, f"docker://{pushed}")
    direct = pushed.replace(lab.proxy.address, lab.registry.address)
    assert pullers.crane(lab, direct, None) == lab.files(cells)
