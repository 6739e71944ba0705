"""The plain tag of a 2DFS image: engines cannot unpack its field, and say so whatever they have already."""

import json

import pytest

from tests.lab.engines import Containerd, DockerEngine, Podman, PullFailed
from tests.lab.images import Kind, push_image
from tests.lab.proxy import Proxy
from tests.lab.registry_client import RegistryClient
from tests.lab.workshop import CONTENT, Workshop

BASE = {"base": b"base"}
ENGINES = ["docker_engine", "containerd_engine", "podman_engine"]


@pytest.mark.parametrize("engine_name", ENGINES)
@pytest.mark.parametrize("kind", ["oci-index", "docker-manifest"])
def test_a_whole_image_does_not_pass_for_the_base_that_an_engine_has(
    workshop: Workshop, proxy: Proxy, request: pytest.FixtureRequest, engine_name: str, kind: Kind
) -> None:
    engine: DockerEngine | Containerd | Podman = request.getfixturevalue(engine_name)
    name = f"whole/{engine_name.partition('_')[0]}-{kind}"
    base = push_image(workshop.registry.url, f"{name}-base", "v1", kind=kind, base=BASE)
    workshop.made("build", base.reference(), workshop.target(name), "--push")
    engine.pull(base.reference())
    engine.pull(f"{proxy.address}/{name}:v1--base")
    with pytest.raises(
        PullFailed, match=r"invalid tar header|mismatched image rootfs|unsupported docker v2s2 media type"
    ):
        engine.pull(f"{proxy.address}/{name}:v1")
    engine.pull(f"{proxy.address}/{name}:v1--0.0.0.0")
    assert engine.files(f"{proxy.address}/{name}:v1--0.0.0.0") == BASE | CONTENT[0, 0]


def test_a_partitions_history_has_lines_of_its_allotments_in_place_of_the_fields(
    workshop: Workshop, proxy: Proxy
) -> None:
    name = "whole/history"
    base = push_image(workshop.registry.url, "whole/history-base", "v1", base=BASE)
    workshop.made("build", base.reference(), workshop.target(name), "--push")

    def config(tag: str, url: str | None = None) -> tuple[str, list[dict[str, object]]]:
        (manifest,) = workshop.images(name, tag, url)
        digest = manifest["config"]["digest"]
        answer = workshop.blob(name, digest) if url is None else pulled(url, digest)
        return digest, json.loads(answer)["history"]

    def pulled(url: str, digest: str) -> bytes:
        with RegistryClient(url) as client:
            return client.request("GET", f"/v2/{name}/blobs/{digest}").body

    own = json.loads(base.platforms[0].config.content)["history"]
    digest, whole = config("v1")
    assert whole[:-1] == own
    assert (str(whole[-1]["created_by"]).partition("sha256:")[0], whole[-1]["empty_layer"]) == (
        "2dfs field ",
        True,
    )
    digest_of_base, history = config("v1--base", proxy.url)
    assert history == own
    assert digest_of_base != digest
    _, history = config("v1--0.0.0.2", proxy.url)
    assert [one["created_by"] for one in history[len(own) :]] == ["2dfs allotment 0/0", "2dfs allotment 0/2"]
