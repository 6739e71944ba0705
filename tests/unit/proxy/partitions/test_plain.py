"""What plain tags give, over a registry whose image under `v1` a test decides."""

from collections.abc import Callable
from dataclasses import replace

import pytest
from aiohttp import web

from proxy.auth.identity import Identity
from proxy.partitions.lookalikes import UnknownPartitionError
from proxy.upstream.registry import Upstreams
from proxy.upstream.replies import RefusedError
from tests.lab.documents import FieldStyle
from tests.lab.exchanges import Handlers
from tests.lab.fake_registry import FakeRegistry
from tests.lab.images import Image, build_image
from tests.lab.layers import Blob
from tests.lab.partition_requests import CELLS, with_field
from twodfs.errors import FormatError, NothingSelectedError, TooManyLayersError
from twodfs.oci.documents import ACCEPT_IMAGES, OCI_INDEX

PLAIN = "/v2/team/model/manifests/v1"
ACCEPT = {"Accept": ACCEPT_IMAGES}
NAMED = build_image(CELLS, field_style=FieldStyle(more={"partitions": {"edge": "0.0.0.1", "default": "1.0.1.1"}}))

Over = Callable[[Image, str], Handlers]


@pytest.fixture
def over(registry: FakeRegistry, upstreams: Upstreams) -> Over:
    def handlers(image: Image, plain_tag: str) -> Handlers:
        registry.image = image
        return Handlers.over(upstreams, plain_tag=plain_tag)

    return handlers


@pytest.mark.parametrize("name", ["edge", "default", "all", "base"])
@pytest.mark.parametrize("method", ["GET", "HEAD"])
async def test_a_plain_tag_gives_what_the_partitions_tag_gives(over: Over, name: str, method: str) -> None:
    handlers = over(NAMED, name)
    plain = await handlers.answer(method, PLAIN, ACCEPT)
    named = await handlers.answer(method, f"{PLAIN}--{name}", ACCEPT)
    assert (plain.status, plain.headers, plain.body) == (named.status, named.headers, named.body)
    assert plain.headers["Docker-Content-Digest"] != NAMED.digest


async def test_an_image_without_a_field_passes_untouched(over: Over, registry: FakeRegistry) -> None:
    image = build_image(None, platforms=("linux/amd64", "linux/arm64"))
    handlers = over(image, "edge")
    for _ in range(2):
        got = await handlers.answer("GET", PLAIN, ACCEPT)
        assert (got.body, got.is_relayed) == (image.top.content, True)
    assert [len(registry.asked("GET", one.digest)) for one in image.manifests] == [1, 1, 1]


async def test_a_tag_that_is_not_there_is_the_registrys_to_answer(over: Over) -> None:
    got = await over(NAMED, "edge").answer("GET", "/v2/team/model/manifests/v9", ACCEPT)
    assert (got.status, got.is_relayed) == (404, True)


async def test_an_image_without_the_partition_is_refused_with_what_it_has(over: Over) -> None:
    with pytest.raises(UnknownPartitionError) as refused:
        await over(NAMED, "gpu").answer("GET", PLAIN, ACCEPT)
    assert str(refused.value) == (
        "team/model:v1 has no partition called gpu, which this proxy gives for plain tags; it has default, edge, all "
        "and base: pull one of them, as v1--all, or the 2DFS image itself as v1--image"
    )


async def test_the_image_itself_has_a_tag_of_its_own_whatever_plain_tags_give(over: Over) -> None:
    for name in ("edge", "gpu"):
        got = await over(NAMED, name).answer("GET", f"{PLAIN}--image", ACCEPT)
        assert (got.status, got.body, got.is_relayed) == (200, NAMED.top.content, True)
    head = await over(NAMED, "edge").answer("HEAD", f"{PLAIN}--image", ACCEPT)
    assert head.headers["Docker-Content-Digest"] == NAMED.digest


async def test_a_partition_called_image_goes_before_the_image_itself(over: Over) -> None:
    image = build_image(CELLS, field_style=FieldStyle(more={"partitions": {"image": "0.0.0.0"}}))
    got = await over(image, "all").answer("GET", f"{PLAIN}--image", ACCEPT)
    assert (got.status, got.is_relayed) == (200, False)


async def test_a_tag_of_the_registry_goes_before_the_image_itself(over: Over, registry: FakeRegistry) -> None:
    async def has_it(request: web.Request) -> web.Response | None:
        return web.Response(body=b"copied") if request.path.endswith("v1--image") else None

    registry.interpose = has_it
    assert (await over(NAMED, "edge").answer("GET", f"{PLAIN}--image", ACCEPT)).body == b"copied"


@pytest.mark.parametrize("tag", ["v1--mine", "v1--0.0.1"])
async def test_a_real_tag_that_looks_like_a_partition_is_a_plain_tag(
    over: Over, registry: FakeRegistry, tag: str
) -> None:
    async def only_it(request: web.Request) -> web.Response | None:
        headers = {"Docker-Content-Digest": NAMED.digest, "Content-Type": OCI_INDEX}
        if request.path.endswith("/v1"):
            return web.Response(status=404)
        return web.Response(body=NAMED.top.content, headers=headers) if request.path.endswith(tag) else None

    registry.interpose = only_it
    got = await over(NAMED, "edge").answer("GET", f"/v2/team/model/manifests/{tag}", ACCEPT)
    assert (got.status, got.is_relayed) == (200, False)


async def test_a_malformed_image_passes_unless_it_has_shown_its_field(over: Over) -> None:
    ordinary = build_image(None, kind="oci-manifest")
    broken = replace(ordinary, top=(top := Blob(b"{}", ordinary.top.media_type)), manifests=(top,))
    got = await over(broken, "edge").answer("GET", PLAIN, ACCEPT)
    assert (got.body, got.is_relayed) == (b"{}", True)
    for _ in range(2):
        with pytest.raises(FormatError):
            await over(with_field(b"{"), "edge").answer("GET", PLAIN, ACCEPT)


async def test_an_index_whose_images_are_not_all_there_passes(over: Over) -> None:
    image = build_image(None, platforms=("linux/amd64", "linux/arm64"))
    handlers = over(replace(image, manifests=image.manifests[1:]), "edge")
    assert (await handlers.answer("GET", PLAIN, ACCEPT)).body == image.top.content


async def test_a_registry_that_fails_is_no_reason_to_give_an_image_that_cannot_run(
    over: Over, registry: FakeRegistry
) -> None:
    async def fails(request: web.Request) -> web.Response | None:
        return web.Response(status=503) if NAMED.manifests[0].digest in request.path else None

    registry.interpose = fails
    handlers = over(NAMED, "edge")
    with pytest.raises(RefusedError) as failed:
        await handlers.answer("GET", PLAIN, ACCEPT)
    assert failed.value.reply.status == 503
    registry.interpose = None
    assert not (await handlers.answer("GET", PLAIN, ACCEPT)).is_relayed


async def test_what_cannot_be_cut_is_said_for_the_plain_tag_as_well(over: Over) -> None:
    wide = build_image({(0, col): {f"{col}": b"%d" % col} for col in range(101)})
    with pytest.raises(TooManyLayersError):
        await over(wide, "all").answer("GET", PLAIN, ACCEPT)
    with pytest.raises(NothingSelectedError):
        await over(build_image({}), "all").answer("GET", PLAIN, ACCEPT)


async def test_by_digest_the_image_itself_stays_reachable(over: Over) -> None:
    handlers = over(NAMED, "edge")
    await handlers.answer("GET", PLAIN, ACCEPT)
    got = await handlers.answer("GET", f"/v2/team/model/manifests/{NAMED.digest}", ACCEPT)
    assert (got.body, got.is_relayed) == (NAMED.top.content, True)


async def test_who_may_not_read_the_image_gets_no_partition_by_its_plain_tag(
    over: Over, registry: FakeRegistry
) -> None:
    handlers = over(NAMED, "edge")
    await handlers.answer("GET", PLAIN, ACCEPT)

    async def refuse(_: web.Request) -> web.Response:
        return web.json_response({}, status=401, headers={"WWW-Authenticate": "Basic realm=x"})

    registry.interpose = refuse
    with pytest.raises(RefusedError) as refused:
        await handlers.answer("GET", PLAIN, ACCEPT, identity=Identity.of({"Authorization": "Basic b3RoZXI="}, "::1"))
    assert refused.value.reply.status == 401
