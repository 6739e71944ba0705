"""A pod that `twodfs show` writes runs as a kubelet asks today's containerd for it: a partition is its volume."""

import json
from collections.abc import Iterator
from typing import Any, Final

import pytest
import yaml

from tests.lab.cri import Cri, ImageMount
from tests.lab.images import busybox_base, push_image
from tests.lab.mirror_clients import ContainerdClient
from tests.lab.proxy import Proxy
from tests.lab.registry import Registry
from tests.lab.todays_root import TodaysRoot
from tests.lab.workshop import CONTENT, Workshop

_SETTINGS: Final = """\
[plugins."io.containerd.cri.v1.images".pinned_images]
sandbox = "{pause}"
[plugins."io.containerd.cri.v1.runtime"]
restrict_oom_score_adj = true
"""


@pytest.fixture(scope="module")
def pause(registry: Registry, proxy: Proxy, tmp_path_factory: pytest.TempPathFactory) -> str:
    """What holds a pod together, and the server: a partition as well, whose program waits."""
    base = push_image(registry.url, "volumes/busybox", "v1", base=busybox_base())
    directory = tmp_path_factory.mktemp("pause")
    (directory / "note").write_text("waits")
    allotments = [{"src": "note", "dst": "/", "row": 0, "col": 0}]
    recipe = {"allotments": allotments, "entrypoint": ["/bin/busybox", "sleep", "1000000"]}
    (directory / "2dfs.json").write_text(json.dumps(recipe))
    making = Workshop(directory, directory / "store", registry)
    making.made("build", base.reference(), making.target("volumes/pause"), "--push")
    return f"{proxy.address}/volumes/pause:v1--all"


@pytest.fixture(scope="module")
def cri(tmp_path_factory: pytest.TempPathFactory, pause: str, proxy: Proxy, registry: Registry) -> Iterator[Cri]:
    directory = tmp_path_factory.mktemp("cri")
    for address in (proxy.address, registry.address):
        hosts = directory / "hosts" / address / "hosts.toml"
        hosts.parent.mkdir(parents=True)
        hosts.write_text(f'server = "http://{address}"\n')
    with TodaysRoot.enter(directory) as root:
        yield ContainerdClient(root, f"{root.lab}/hosts", major=2, more=_SETTINGS.format(pause=pause)).runtime


def mounts(cri: Cri, spec: dict[str, Any]) -> list[ImageMount]:
    """Return what a kubelet makes of a pod's image volumes: it pulls them first."""
    pulled = {one["name"]: cri.pull(one["image"]["reference"]) for one in spec["volumes"]}
    (container,) = spec["containers"]
    return [ImageMount(pulled[one["name"]], one["mountPath"]) for one in container["volumeMounts"]]


def test_a_partition_is_the_volume_of_a_pod(workshop: Workshop, cri: Cri, pause: str, proxy: Proxy) -> None:
    recipe = json.loads((workshop.directory / "2dfs.json").read_bytes()) | {"partitions": {"edge": "0.0.0.0"}}
    (workshop.directory / "2dfs.json").write_text(json.dumps(recipe))
    target = workshop.target("volumes/model")
    workshop.made("build", "scratch", target, "--push")
    words = ("--as", "image-volume", "--proxy", proxy.address, "--server", pause, "--pin", "--mount", "/partition")
    pod = yaml.safe_load(workshop.made("show", f"{target}--edge", *words).out)
    cri.pull(pause)
    server = cri.pull(pod["spec"]["containers"][0]["image"])
    with cri.run_pod(pod["metadata"]["name"]) as running:
        container = running.start(server, ["/bin/busybox", "sleep", "600"], mounts(cri, pod["spec"]))
        assert running.execute(container, "/bin/busybox", "ls", "/partition/models") == "a.bin\n"
        written = running.execute(container, "/bin/sh", "-c", "/bin/busybox touch /partition/models/b.bin 2>&1 || :")
        assert "Read-only file system" in written
        size = len(CONTENT[0, 0]["models/a.bin"])
        assert running.execute(container, "/bin/busybox", "stat", "-c", "%s", "/partition/models/a.bin") == f"{size}\n"
        assert running.execute(container, "/bin/busybox", "ls", "/bin/busybox") == "/bin/busybox\n"
