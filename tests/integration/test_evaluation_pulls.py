"""What the evaluation's measurements of pulls rest on."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest

from benchmarks.evaluation.contenders.docker import Docker
from benchmarks.evaluation.contenders.engines import PullingContainerd, PullingDocker, PullingEngine
from benchmarks.evaluation.measuring.serving import Serving
from benchmarks.prebuilt import prebuild
from tests.lab.device import Pulled, pull_images
from tests.lab.images import push_field_image, push_image
from tests.lab.proxy import Proxy
from tests.lab.registry import Registry
from tests.lab.registry_client import RegistryError

FIELD = "evaluation/field"
PARTITION = "v1--0.1.0.2"
CELLS = {(0, column): {f"{column}": b"%d " % column * 50_000} for column in range(4)}


@contextmanager
def docker(directory: Path) -> Iterator[PullingEngine]:
    with Docker.start(directory) as started:
        yield PullingDocker(started)


Start = Callable[[Path], AbstractContextManager[PullingEngine]]


@pytest.mark.parametrize("start", [docker, PullingContainerd.start])
def test_every_pull_by_an_engine_is_cold(start: Start, registry: Registry, tmp_path: Path) -> None:
    base = [{f"{number}": b"%d" % number} for number in range(3)]
    image = push_image(registry.url, "evaluation/cold", "v1", base=base)
    layers = {layer.blob.digest for layer in image.layers()}
    with start(tmp_path) as engine:
        for _ in range(2):
            since = registry.log.stat().st_size
            engine.pull(image.reference())
            asked = [one.target for one in registry.requests(since=since) if one.method == "GET" and one.status == 200]
            assert {digest for digest in layers if any(target.endswith(digest) for target in asked)} == layers
            engine.remove(image.reference())


async def test_an_image_made_beforehand_is_the_partition_itself(registry: Registry, proxy: Proxy) -> None:
    push_field_image(registry.url, FIELD, "v1", cells=CELLS, allotment_compression="none")
    prebuild(proxy.url, registry.url, FIELD, PARTITION, to="evaluation/images", under="cut")
    (cut,) = await pull_images(proxy.url, [(FIELD, PARTITION)])
    (made,) = await pull_images(registry.url, [("evaluation/images", "cut")])
    assert what_is_pulled(made) == what_is_pulled(cut)
    assert len(cut.layers) == 1 + 2


def test_there_is_nothing_to_make_of_an_image_that_is_not_there(registry: Registry, proxy: Proxy) -> None:
    with pytest.raises(RegistryError, match=f"evaluation/none:{PARTITION}: 404"):
        prebuild(proxy.url, registry.url, "evaluation/none", PARTITION, to="evaluation/images", under="cut")


async def test_serving_counts_the_bytes_and_the_processor_time_of_its_span(registry: Registry, proxy: Proxy) -> None:
    push_field_image(registry.url, FIELD, "v1", cells=CELLS, allotment_compression="none")
    await pull_images(proxy.url, [(FIELD, "v1--0.0.0.3")])
    with Serving(registry, [proxy]) as served:
        await pull_images(proxy.url, [(FIELD, PARTITION)])
    assert 2 * 100_000 < served.bytes < 2 * 110_000
    assert served.measures()["bytes_per_second"] == pytest.approx(served.bytes / served.seconds)
    assert 0 < served.registry_cpu_seconds < 1
    assert 0 < served.proxy_cpu_seconds < 1
    with Serving(registry) as nothing:
        pass
    assert nothing.bytes == 0
    assert "proxy_cpu_seconds" not in nothing.measures()


def what_is_pulled(of: Pulled) -> tuple[str, dict[str, bytes], tuple[str, ...]]:
    return of.digest, of.documents, of.layers
